//! What was typed: commands, options and their help. What it means is [`crate::resolve`]'s. Main type: [`Args`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as Arguments, Parser, Subcommand, ValueEnum};
use uuid::Uuid;

use crate::measure;

const EXIT_CODES: &str = "\
Exit codes:
  0  done; a migration: the domain has moved
  1  the operation failed
  2  the command line is wrong
  3  no agent could be reached
  4  refused before anything was changed
  5  a migration: the domain stays on its source, as if nothing had happened
  6  a migration: in doubt, see `ferry migrations resolve --help`
  7  a migration: the guest's memory is lost

Errors go to standard error; with --json as one object {\"error\": …} with code, detail, mend and details.";

/// Moves virtual machines between hosts while they run.
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
    /// Define a domain from libvirt domain XML, or define it anew
    Define(Define),
    /// Forget the definition of a domain that is shut off
    Undefine(OneDomain),
    /// Print a domain's definition
    Dumpxml(OneDomain),
    /// List domains
    List(List),
    /// Show one domain
    Info(OneDomain),
    /// Start a domain that is shut off
    Start(OneDomain),
    /// Ask a guest to power itself off, by its ACPI power button
    Shutdown(Shutdown),
    /// Pull the plug: end a domain at once
    Destroy(OneDomain),
    /// Stop a domain's processors; its memory stays
    Suspend(OneDomain),
    /// Let a suspended domain go on
    Resume(OneDomain),
    /// Move a domain to another host while it runs
    ///
    /// Watches the migration to its end and prints a short report. Ctrl-C asks the agent to cancel it; a second Ctrl-C
    /// stops watching and leaves it to itself.
    ///
    /// With --json every event is one line, the last one is the report. Exit codes tell the outcome: see `ferry --help`.
    Migrate(Migrate),
    /// Look at migrations, stop them, end those in doubt
    #[command(subcommand)]
    Migrations(Migrations),
    /// Look at hosts
    #[command(subcommand)]
    Host(Host),
    /// Print the version of this program and of the agent
    Version,
    /// Run as the agent of this host
    ///
    /// It logs to standard error and ends on SIGTERM or SIGINT; guests go on, and the next agent finds them again.
    Agent(Agent),
    /// Make the CA and the certificates that agents know each other by
    #[command(subcommand)]
    Ca(Ca),
    /// Join standard input and output to the agent's socket
    #[command(hide = true, name = "dial-stdio")]
    DialStdio,
}

#[derive(Debug, Arguments)]
pub(crate) struct OneDomain {
    /// Name or UUID
    pub(crate) domain: String,
}

#[derive(Debug, Arguments)]
pub(crate) struct Define {
    /// File with the XML, or - for standard input
    pub(crate) file: PathBuf,
}

#[derive(Debug, Arguments)]
pub(crate) struct List {
    /// Also domains that are shut off or have moved away
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Shutdown {
    /// Name or UUID
    pub(crate) domain: String,
    /// Seconds to wait for it; 0 only asks
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Arguments)]
pub(crate) struct Migrate {
    /// Name or UUID
    pub(crate) domain: String,
    /// Name of the host that it goes to, as the agent's configuration has it
    #[arg(long, value_name = "HOST")]
    pub(crate) to: String,
    /// Longest time that the guest may stand still for its memory [default: 30ms]
    #[arg(long, value_name = "TIME", value_parser = measure::blackout)]
    pub(crate) max_blackout: Option<Duration>,
    /// Bandwidth for memory, as in 100MiB/s or 1Gbit/s; 0 is without limit [default: 0]
    #[arg(long, value_name = "RATE", value_parser = measure::bytes_per_s)]
    pub(crate) bandwidth: Option<u64>,
    /// Parallel connections for memory [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: Option<u8>,
    /// Send memory unencrypted
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// Keep the definition on the source too; it does not start while another host owns the domain
    #[arg(long)]
    pub(crate) keep_definition: bool,
    /// Do not keep the definition on the target: the domain is gone once it shuts off there
    #[arg(long)]
    pub(crate) transient: bool,
    /// Print the migration's id and do not watch it
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Migrations {
    /// List the migrations that this host took part in
    List,
    /// Show one migration
    Show(OneMigration),
    /// Watch a migration to its end; Ctrl-C stops watching and nothing else
    Watch(OneMigration),
    /// Ask the source to keep the domain, if that is still possible
    Cancel(OneMigration),
    /// End a migration in doubt by your word about what happened on the other host
    ///
    /// A migration is in doubt when the source has given its word that it will not run the guest again and never heard
    /// what became of it. It ends by itself when the other host can be reached again. Your word ends it sooner, and a
    /// wrong word costs the guest's memory or its disks.
    Resolve(Resolve),
}

#[derive(Debug, Arguments)]
pub(crate) struct OneMigration {
    /// The migration's id
    pub(crate) id: Uuid,
}

#[derive(Debug, Arguments)]
pub(crate) struct Resolve {
    /// The migration's id
    pub(crate) id: Uuid,
    /// What is true
    #[arg(long = "as", value_name = "WORD")]
    pub(crate) word: Word,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Word {
    /// The guest runs on the target, or did: give it up on the source
    Moved,
    /// The guest never ran on the target: go on here with the memory of then
    Kept,
    /// Nobody has the guest's memory any more: it may be booted afresh
    Lost,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Show facts about the host: processors, memory, accelerators, hosts it knows
    Info,
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

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Make a CA: its certificate ca.pem and its key ca-key.pem
    ///
    /// Keep the directory where only the operator reaches it: who has ca-key.pem can be any host.
    Init(CaInit),
    /// Make a host's certificate and key
    ///
    /// Makes ca.pem, host.pem and host-key.pem for the agent, and the names that QEMU's tls-creds-x509 wants for the
    /// same files. Copy the directory to the host; its files are root's.
    Issue(CaIssue),
}

#[derive(Debug, Arguments)]
pub(crate) struct CaInit {
    /// Directory to make the files in; it is created
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Arguments)]
pub(crate) struct CaIssue {
    /// The host's name, as other hosts call it
    pub(crate) name: String,
    /// Directory of the CA
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// An IP address of the host; may be given more than once
    #[arg(long, value_name = "IP")]
    pub(crate) address: Vec<IpAddr>,
    /// Directory to make the files in; it is created
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Replace files that are there
    #[arg(long)]
    pub(crate) replace: bool,
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
        check_refused("ferry migrations show 17", ErrorKind::ValueValidation, "<ID>");
        check_refused("ferry shutdown web1 --timeout soon", ErrorKind::ValueValidation, "--timeout");
        check_refused(
            "ferry ca issue kvm1 --dir a --out b --address kvm1",
            ErrorKind::ValueValidation,
            "--address <IP>",
        );
    }
}
