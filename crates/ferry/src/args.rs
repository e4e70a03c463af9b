//! What was typed: commands, options and their help. What it means is [`crate::resolve`]'s. Main type: [`Args`].

mod bridge;
mod ca;
mod copies;
mod devices;
mod domains;
mod drain;
mod hosts;
mod install;
mod migrations;
mod pools;
mod screen;
mod storage;

use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand};

pub(crate) use bridge::{Bridge, BridgeCreate};
pub(crate) use ca::{Ca, CaInit, CaIssue};
pub(crate) use copies::{Clone, Import, Snapshot};
pub(crate) use devices::{
    AttachDisk, AttachInterface, ChangeMedia, DetachDisk, DetachInterface, InterfaceKind, OneDevice,
    ScopeWords,
};
pub(crate) use domains::{
    Autostart, Define, Dumpxml, List, OneDomain, Reboot, Rename, Setmem, Setvcpus, Shutdown, Undefine,
};
pub(crate) use drain::Drain;
pub(crate) use hosts::{Host, HostJoin, HostToken};
pub(crate) use install::{Card, Create, Graphics, Machine, NewDomain};
pub(crate) use migrations::{
    Check, Ending, Migrate, Migrations, Plan, Report, Resolve, Set, StuckWord, Word,
};
pub(crate) use pools::{DefinePool, FormatWord, KindWord, OneVolume, PoolCommand, Transfer, Vol};
pub(crate) use screen::{Console, Events, Screenshot};
pub(crate) use storage::{SourceDisksWord, Storage, VerifyWord};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; a migration: the domain has moved, or its copy is on the target
  1  the operation failed
  2  the command line is wrong
  3  no agent could be reached
  4  refused before anything was changed
  5  a migration: the domain stays on its source, as if nothing had happened
  6  a migration: in doubt, see `ferry migrations resolve --help`
  7  a migration: the guest's memory is lost

Errors go to standard error; with --json as one object {\"error\": …} with code, detail, mend and details.";

/// Moves virtual machines between hosts, running or shut off.
#[derive(Debug, Parser)]
#[command(name = "ferry", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(propagate_version = false, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which agent is asked, and in which form it answers.
#[derive(Debug, Arguments)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Reach {
    /// Ask the agent of another host through ssh: ssh://[USER@]HOST[:PORT]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) host: Option<String>,
    /// The agent's socket [env: FERRY_SOCKET] [default: /run/ferry/ferry.sock]; with --host, the socket there
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Print JSON instead of text for people
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make and start a new domain, or start one from libvirt domain XML without keeping its definition
    ///
    /// As in: ferry create --name web1 --os debian13 --memory 4G --disk size=20G --cdrom /srv/debian.iso
    ///
    /// Its machine is what the system named wants. It boots the CD as long as nothing is on its first disk. Where it does
    /// not start, nothing of it is left.
    Create(Box<Create>),
    /// Define a domain from libvirt domain XML, or define it anew
    Define(Define),
    /// Forget the definition of a domain that is shut off
    Undefine(Undefine),
    /// Edit a domain's definition for its next start, in $VISUAL or $EDITOR
    ///
    /// A text that is refused may be edited again. A domain keeps its name and its UUID; a guest that runs keeps what it
    /// has.
    Edit(OneDomain),
    /// Print a domain's definition
    Dumpxml(Dumpxml),
    /// Give a domain that is shut off another name
    Rename(Rename),
    /// Define another domain with copies of the disks of one that is shut off
    ///
    /// It gets a UUID and MAC addresses of its own. Disks that are read-only or shared stay the same files. A file that
    /// bears the domain's name gets the new one, in the same directory.
    Clone(Clone),
    /// Take a domain over from libvirt on the same host, with its disks in place
    ///
    /// It must be shut off there. libvirt's own definition is left; undefine it there, so that nobody starts it twice.
    Import(Import),
    /// Keep the content of disks, and bring it back
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Start a domain when its host boots
    Autostart(Autostart),
    /// Give a domain another number of vCPUs from its next start on
    Setvcpus(Setvcpus),
    /// Give a domain another amount of memory from its next start on
    Setmem(Setmem),
    /// List domains
    List(List),
    /// Show one domain
    Info(OneDomain),
    /// Start a domain that is shut off
    Start(OneDomain),
    /// Ask a guest to power itself off, by its ACPI power button
    Shutdown(Shutdown),
    /// Ask a guest to shut itself down by its ACPI power button, and boot it again
    Reboot(Reboot),
    /// Press the reset button: boot a guest again at once, without asking it
    Reset(OneDomain),
    /// Pull the plug: end a domain at once
    Destroy(OneDomain),
    /// Stop a domain's processors; its memory stays
    Suspend(OneDomain),
    /// Let a suspended domain go on
    Resume(OneDomain),
    /// Give a domain one more disk
    AttachDisk(AttachDisk),
    /// Take a disk away from a domain
    DetachDisk(DetachDisk),
    /// Give a domain one more network interface
    AttachInterface(AttachInterface),
    /// Take a network interface away from a domain
    DetachInterface(DetachInterface),
    /// Give a domain a <disk> or an <interface> of libvirt domain XML
    AttachDevice(OneDevice),
    /// Take the <disk> or the <interface> away that has the same target or MAC address
    DetachDevice(OneDevice),
    /// Give a CD drive another medium, or none
    ChangeMedia(ChangeMedia),
    /// Type into a guest's serial console and read what it says
    ///
    /// Standard input goes to the guest and what it says to standard output. On a terminal every key goes to the guest,
    /// Ctrl-C too; Ctrl-] leaves the console. Where standard input is no terminal, its end leaves it.
    ///
    /// It ends when the guest ends or moves to another host, and says so.
    Console(Console),
    /// Print where a domain's VNC server listens: HOST:PORT, or the path of its socket
    Vncdisplay(OneDomain),
    /// Make a picture of what a domain's screen shows
    Screenshot(Screenshot),
    /// Print what happens to domains, as it happens
    ///
    /// With --json every event is one object on a line of its own. An agent remembers the last 1000 for --since.
    Events(Events),
    /// Find out everything that stands in the way of a migration, and how to mend it
    ///
    /// Asks both hosts at once and changes nothing: what it writes beside a disk, to see whether the other host reads it, is
    /// removed again. What fails comes first, each with what both hosts have, why it matters and what to do.
    ///
    /// Ends with 0 where nothing forbids the migration, with 4 where something does. docs/preflight.md has all rules.
    Check(Check),
    /// Find out what moving a guest would be like: how long, how long it stands still, and whether it comes to an end at all
    ///
    /// Begins with everything that `ferry check` looks at. Then it looks at the guest for some seconds and tries the way
    /// between the agents, and changes nothing. Each figure comes with the range that four migrations of five stay within;
    /// where the guest writes too fast, it tells what it would take. docs/prediction.md says what that rests on.
    ///
    /// Ends with 0 where nothing forbids the migration, with 4 where something does.
    Plan(Plan),
    /// Look at what was expected of migrations, and what came
    ///
    /// Every migration from this host keeps what was expected of it. All of them: how often the outcome lay in its range,
    /// and how far it was from what was likely; with --json `coverage`, `median_error` and `runs` are those of the time.
    Report(Report),
    /// Storage pools: directories and NFS exports that volumes lie in
    #[command(subcommand)]
    Pool(PoolCommand),
    /// Volumes of a storage pool
    #[command(subcommand)]
    Vol(Vol),
    /// Move a domain to another host, while it runs or shut off
    ///
    /// Begins with everything that `ferry check` looks at, and changes nothing where that forbids it.
    ///
    /// Both hosts see the disks, or --copy-storage takes them along. Shut off: as the files that they are, with their
    /// snapshots and holes, proven equal before the domain is handed over; a copy that is cut goes on where it was. While it
    /// runs: each into a new image, which is kept equal until the guest has moved.
    ///
    /// Watches the migration to its end and prints a short report. Ctrl-C asks the agent to cancel it; a second Ctrl-C
    /// stops watching and leaves it to itself.
    ///
    /// With --json every event is one line, the last one is the report. Exit codes tell the outcome: see `ferry --help`.
    Migrate(Migrate),
    /// Look at migrations, stop them, end those in doubt
    #[command(subcommand)]
    Migrations(Migrations),
    /// Empty a host: move every domain that runs there to others
    ///
    /// Each goes to the host with the most free memory that `ferry check` finds nothing against, and to the next one where its
    /// migration fails. Some are prepared while others are on their way; how many go over at once is set in agent.toml
    /// (transfers_out_max, transfers_in_max, transfers_to_host_max). Domains that are shut off stay. While it goes on, the host
    /// takes no domains in.
    ///
    /// The first Ctrl-C begins with no further domain, the second cancels what is on its way, the third leaves it to itself.
    ///
    /// Exit codes are those of the gravest end: 0 where nothing runs there any more, 5 where a domain stays.
    Drain(Drain),
    /// Let hosts join each other, look at them, remove them
    #[command(subcommand)]
    Host(Host),
    /// Make and remove bridges, by which guests reach the network
    #[command(subcommand)]
    Bridge(Bridge),
    /// Print the version of this program and of the agent
    Version,
    /// Run as the agent of this host
    ///
    /// It logs to standard error and ends on SIGTERM or SIGINT; guests go on, and the next agent finds them again.
    Agent(Agent),
    /// Find out what is missing or wrong on this host, and how to mend it
    ///
    /// Reads the agent's configuration and looks for itself, so it works where no agent runs. Ends with 1 where something
    /// keeps domains from running or moving, with 0 otherwise.
    Doctor(Doctor),
    /// Make the CA and the certificates that agents know each other by
    #[command(subcommand)]
    Ca(Ca),
    /// Join standard input and output to the agent's socket
    #[command(hide = true, name = "dial-stdio")]
    DialStdio,
    /// Write manual pages and completions for packages
    #[command(hide = true)]
    Generate(Generate),
}

#[derive(Debug, Arguments)]
pub(crate) struct Doctor {
    /// The agent's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/ferry/agent.toml")]
    pub(crate) config: PathBuf,
    /// Print what a check tells other hosts of this machine, its kernel and its bridges, as JSON, and look for nothing wrong
    #[arg(long)]
    pub(crate) facts: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Generate {
    /// Directory to make man/ and completions/ in
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Arguments)]
pub(crate) struct Agent {
    /// Its configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/ferry/agent.toml")]
    pub(crate) config: PathBuf,
    /// What it logs to standard error, as in info,agent=debug [env: RUST_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::Args;
    use clap::error::ErrorKind;
    use clap::{CommandFactory, Parser};

    /// The long help of every command at 80 columns, the deepest last.
    fn help(command: &mut clap::Command, path: &str, pages: &mut Vec<(String, String)>) {
        pages.push((path.to_owned(), command.render_long_help().to_string()));
        for inner in command.get_subcommands_mut() {
            help(inner, &format!("{path}-{}", inner.get_name()), pages);
        }
    }

    #[test]
    fn help_of_every_command() {
        let mut command = Args::command().term_width(80);
        command.build();
        let mut pages = Vec::new();
        help(&mut command, "ferry", &mut pages);
        assert!(pages.len() > 25, "{}", pages.len());
        for (path, page) in pages {
            let wide: Vec<_> = page.lines().filter(|line| line.chars().count() > 80).collect();
            assert!(wide.is_empty(), "{path}: {wide:?}");
            insta::assert_snapshot!(path, page);
        }
    }

    #[track_caller]
    fn check_refused(typed: &str, kind: ErrorKind, says: &str) {
        let error = Args::try_parse_from(typed.split_whitespace()).expect_err("refused");
        assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn wrong_words_are_refused() {
        check_refused("ferry migrate web1", ErrorKind::MissingRequiredArgument, "--to <HOST>");
        check_refused("ferry start", ErrorKind::MissingRequiredArgument, "<DOMAIN>");
        check_refused("ferry move web1", ErrorKind::InvalidSubcommand, "move");
        check_refused(
            "ferry migrate web1 --to kvm2 --max-blackout 30",
            ErrorKind::ValueValidation,
            "use one of ms, s",
        );
        check_refused(
            "ferry migrate web1 --to kvm2 --bandwidth 100M",
            ErrorKind::ValueValidation,
            "\"M\" is no unit here; use one of KiB/s",
        );
        check_refused("ferry migrate web1 --to kvm2 --channels 0", ErrorKind::ValueValidation, "1..");
        check_refused(
            "ferry migrations resolve 00000000-0000-0000-0000-000000000000",
            ErrorKind::MissingRequiredArgument,
            "--as <WORD>",
        );
        check_refused(
            "ferry migrations resolve 00000000-0000-0000-0000-000000000000 --as won",
            ErrorKind::InvalidValue,
            "moved, kept, lost",
        );
        for (typed, says) in [
            ("--flatten", "--copy-storage"),
            ("--copy-media", "--copy-storage"),
            ("--verify wire", "--copy-storage"),
            ("--source-disks delete", "--copy-storage"),
            ("--new-uuid", "--offline"),
            ("--rename web2", "--offline"),
            ("--keep-source --offline", "--copy-storage"),
        ] {
            let typed = format!("ferry migrate web1 --to kvm2 {typed}");
            check_refused(&typed, ErrorKind::MissingRequiredArgument, says);
        }
        for typed in [
            "--max-blackout 30ms",
            "--blackout-bound 100ms",
            "--max-throttle 10",
            "--deadline 60s",
            "--on-stuck suspend",
            "--channels 2",
            "--plaintext",
            "--transient",
            "--copy-storage --keep-source --source-disks delete",
            "--copy-storage --keep-source --keep-definition",
        ] {
            let typed = format!("ferry migrate web1 --to kvm2 --offline {typed}");
            check_refused(&typed, ErrorKind::ArgumentConflict, "cannot be used with");
        }
        check_refused(
            "ferry migrate web1 --to kvm2 --map-disk vda=web1",
            ErrorKind::ValueValidation,
            "an absolute path",
        );
        check_refused(
            "ferry check web1 --to kvm2 --map-pool a=",
            ErrorKind::ValueValidation,
            "the name there",
        );
        check_refused("ferry clone web1 web2 --file vda", ErrorKind::ValueValidation, "an absolute path");
        let set = "ferry migrations set 00000000-0000-0000-0000-000000000000";
        check_refused(&format!("{set} --max-throttle 100"), ErrorKind::ValueValidation, "0..=99");
        check_refused("ferry migrations show 17", ErrorKind::ValueValidation, "<ID>");
        check_refused("ferry shutdown web1 --timeout soon", ErrorKind::ValueValidation, "--timeout");
        check_refused(
            "ferry ca issue kvm1 --dir a --out b --address kvm1",
            ErrorKind::ValueValidation,
            "--address <IP>",
        );
    }
}
