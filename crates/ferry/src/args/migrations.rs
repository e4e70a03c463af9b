//! What is typed after `migrate` and `migrations`.

use std::time::Duration;

use clap::{Args as Arguments, Subcommand, ValueEnum};
use uuid::Uuid;

use super::storage::{SourceDisksWord, Storage, VerifyWord};
use crate::measure;

#[derive(Debug, Arguments)]
pub(crate) struct Migrate {
    /// Name or UUID
    pub(crate) domain: String,
    /// Name of the host that it goes to, as the agent's configuration has it
    #[arg(long, value_name = "HOST")]
    pub(crate) to: String,
    /// Move it shut off: its definition, and what --copy-storage takes along; a domain that runs is refused
    #[arg(long, conflicts_with_all = ENDING)]
    pub(crate) offline: bool,
    /// Longest time that the guest may stand still for its memory [default: 30ms]
    #[arg(long, value_name = "TIME", value_parser = measure::blackout, conflicts_with = "offline")]
    pub(crate) max_blackout: Option<Duration>,
    #[command(flatten)]
    pub(crate) ending: Ending,
    /// Bandwidth for memory and disks, as in 100MiB/s or 1Gbit/s; 0 is without limit [default: 0]
    #[arg(long, value_name = "RATE", value_parser = measure::bytes_per_s)]
    pub(crate) bandwidth: Option<u64>,
    /// Parallel connections for memory; more than one needs --plaintext or QEMU 10.2 [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..), conflicts_with = "offline")]
    pub(crate) channels: Option<u8>,
    /// Where memory does not go over quickly enough: let the guest go on at the target before all of it is there; until it
    /// is, the guest is lost if QEMU ends on either host
    #[arg(long, conflicts_with_all = ["offline", "channels", "copy_storage"])]
    pub(crate) allow_postcopy: bool,
    /// Send memory unencrypted; disks are always encrypted
    #[arg(long, conflicts_with = "offline")]
    pub(crate) plaintext: bool,
    /// Do not look at these rules of the preflight; the report names them
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
    /// Keep the definition on the source too; it does not start while another host owns the domain
    #[arg(long, conflicts_with = "keep_source")]
    pub(crate) keep_definition: bool,
    /// Do not keep the definition on the target: the domain is gone once it shuts off there
    #[arg(long, conflicts_with = "offline")]
    pub(crate) transient: bool,
    /// Print the migration's id and do not watch it
    #[arg(long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) storage: Storage,
    /// How the copy of the disks is proven before the domain is handed over [default: disk]
    #[arg(long, value_name = "HOW", requires = "copy_storage")]
    pub(crate) verify: Option<VerifyWord>,
    /// What becomes of the disks on the source once the domain is the target's [default: keep]
    #[arg(long, value_name = "WHAT", requires = "copy_storage", conflicts_with = "keep_source")]
    pub(crate) source_disks: Option<SourceDisksWord>,
}

/// The names of what is in [`Ending`].
pub(super) const ENDING: [&str; 4] = ["blackout_bound", "max_throttle", "deadline", "on_stuck"];

/// What brings a migration to its end where rounds alone do not.
#[derive(Debug, Arguments)]
pub(crate) struct Ending {
    /// Longest time that it may stand still where --max-blackout cannot be had [default: 300ms]
    #[arg(long, value_name = "TIME", value_parser = measure::blackout)]
    pub(crate) blackout_bound: Option<Duration>,
    /// Most that may be taken of its time while it writes faster than its memory goes over, in per cent; 0 takes none
    /// [default: 80]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=99))]
    pub(crate) max_throttle: Option<u8>,
    /// How long memory may go over, as in 90s or 10min, before the migration counts as stuck [default: while rounds make
    /// progress]
    #[arg(long, value_name = "TIME", value_parser = measure::deadline)]
    pub(crate) deadline: Option<Duration>,
    /// What becomes of a migration that comes to no end by all that [default: keep]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_stuck: Option<StuckWord>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StuckWord {
    /// Give it up: the guest stays on the source and runs on
    Keep,
    /// Pause the guest until what is left has gone over; it goes on on the target
    Suspend,
}

#[derive(Debug, Arguments)]
pub(crate) struct Check {
    /// Name or UUID
    pub(crate) domain: String,
    /// Name of the host that it would go to, as the agent's configuration has it
    #[arg(long, value_name = "HOST")]
    pub(crate) to: String,
    /// As for a move while the guest works [default: if it runs]
    #[arg(long, conflicts_with = "offline")]
    pub(crate) live: bool,
    /// As for a move of the domain shut off [default: if it is shut off]
    #[arg(long)]
    pub(crate) offline: bool,
    /// Look at these rules only; may be repeated
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Do not look at these rules; may be repeated
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
    /// Parallel connections for memory that the migration is to have [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(crate) channels: Option<u8>,
    /// As for memory that goes unencrypted
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// As for a guest that may go on at the target before all its memory is there
    #[arg(long, conflicts_with_all = ["offline", "channels", "copy_storage"])]
    pub(crate) allow_postcopy: bool,
    #[command(flatten)]
    pub(crate) storage: Storage,
    /// Make the mends that take nothing from anybody, each shown first: a pool defined or started on the target, a bridge
    /// made there on a card that it does not use; then check again
    #[arg(long)]
    pub(crate) fix: bool,
    /// Make them without asking
    #[arg(long, requires = "fix")]
    pub(crate) yes: bool,
    /// Show everything that is in order, too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Plan {
    /// Name or UUID
    pub(crate) domain: String,
    /// Name of the host that it would go to, as the agent's configuration has it
    #[arg(long, value_name = "HOST")]
    pub(crate) to: String,
    /// Longest time that the guest may stand still for its memory [default: 30ms]
    #[arg(long, value_name = "TIME", value_parser = measure::blackout)]
    pub(crate) max_blackout: Option<Duration>,
    #[command(flatten)]
    pub(crate) ending: Ending,
    /// Bandwidth for memory, as in 100MiB/s or 1Gbit/s; 0 is without limit [default: 0]
    #[arg(long, value_name = "RATE", value_parser = measure::bytes_per_s)]
    pub(crate) bandwidth: Option<u64>,
    /// As for memory that goes unencrypted
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// Do not look at these rules of the preflight
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) skip: Vec<String>,
}

#[derive(Debug, Arguments)]
pub(crate) struct Report {
    /// One migration in full
    pub(crate) id: Option<Uuid>,
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
    /// Hand the guest over now, and send the rest of its memory afterwards (begun with --allow-postcopy)
    Postcopy(OneMigration),
    /// Change what a live migration may do, while its memory goes over
    Set(Set),
    /// Bring a live migration to its end now, whatever the blackout: the guest is paused until what is left has gone over
    SwitchoverNow(OneMigration),
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
pub(crate) struct Set {
    /// The migration's id
    pub(crate) id: Uuid,
    /// Bandwidth for memory, as in 100MiB/s or 1Gbit/s; 0 is without limit
    #[arg(long, value_name = "RATE", value_parser = measure::bytes_per_s)]
    pub(crate) bandwidth: Option<u64>,
    /// Longest time that the guest may stand still for its memory; given at once, not in steps
    #[arg(long, value_name = "TIME", value_parser = measure::blackout)]
    pub(crate) max_blackout: Option<Duration>,
    /// Most that may be taken of the guest's time, in per cent; less than now gives it back
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(..=99))]
    pub(crate) max_throttle: Option<u8>,
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
