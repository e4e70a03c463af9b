//! What is typed after the words for one domain: `define`, `list`, `shutdown`, …

use std::path::PathBuf;

use clap::Args as Arguments;

use crate::measure;

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
pub(crate) struct Undefine {
    /// Name or UUID
    pub(crate) domain: String,
    /// Remove the file with its UEFI variables
    #[arg(long, conflicts_with = "keep_nvram")]
    pub(crate) nvram: bool,
    /// Leave the file with its UEFI variables where it is
    #[arg(long)]
    pub(crate) keep_nvram: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Dumpxml {
    /// Name or UUID
    pub(crate) domain: String,
    /// The definition for its next start, not the one that it runs with
    #[arg(long)]
    pub(crate) inactive: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Rename {
    /// Name or UUID
    pub(crate) domain: String,
    /// The new name
    pub(crate) name: String,
}

#[derive(Debug, Arguments)]
pub(crate) struct Autostart {
    /// Name or UUID
    pub(crate) domain: String,
    /// Do not start it any more
    #[arg(long)]
    pub(crate) disable: bool,
}

#[derive(Debug, Arguments)]
pub(crate) struct Setvcpus {
    /// Name or UUID
    pub(crate) domain: String,
    /// How many
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) count: u32,
}

#[derive(Debug, Arguments)]
pub(crate) struct Setmem {
    /// Name or UUID
    pub(crate) domain: String,
    /// How much, as in 4GiB, 4G or 512MiB
    #[arg(value_name = "SIZE", value_parser = measure::size)]
    pub(crate) memory_bytes: u64,
}

#[derive(Debug, Arguments)]
pub(crate) struct Reboot {
    /// Name or UUID
    pub(crate) domain: String,
    /// Seconds to wait for it; 0 only asks
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) timeout: u64,
}
