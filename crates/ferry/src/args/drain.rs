//! What is typed after `drain`.

use std::time::Duration;

use clap::Args as Arguments;

use super::migrations::{ENDING, Ending};
use crate::measure;

#[derive(Debug, Arguments)]
pub(crate) struct Drain {
    /// Name of the host that is to be emptied: the one whose agent is asked
    pub(crate) name: String,
    /// Hosts that may take domains in [default: every host that this one knows]
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    pub(crate) to: Vec<String>,
    /// Only check where each domain would go, and move nothing
    #[arg(long, conflicts_with_all = ["detach", "watch"])]
    pub(crate) dry_run: bool,
    /// Domains that are prepared or moved at the same time [default: 2 more than may leave the host at once]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_once: Option<u32>,
    /// Longest time that a guest may stand still for its memory [default: 30ms]
    #[arg(long, value_name = "TIME", value_parser = measure::blackout)]
    pub(crate) max_blackout: Option<Duration>,
    #[command(flatten)]
    pub(crate) ending: Ending,
    /// Bandwidth for each domain, as in 100MiB/s or 1Gbit/s; 0 is without limit [default: 0]
    #[arg(long, value_name = "RATE", value_parser = measure::bytes_per_s)]
    pub(crate) bandwidth: Option<u64>,
    /// Send memory unencrypted
    #[arg(long)]
    pub(crate) plaintext: bool,
    /// Take disks along that the target does not see
    #[arg(long)]
    pub(crate) copy_storage: bool,
    /// Begin, and do not watch
    #[arg(long)]
    pub(crate) detach: bool,
    /// Watch the one that is under way, or show how the last one ended
    #[arg(long, conflicts_with_all = ["to", "at_once", "max_blackout", "bandwidth", "plaintext", "copy_storage", "detach"], conflicts_with_all = ENDING)]
    pub(crate) watch: bool,
}
