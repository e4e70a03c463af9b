//! What is typed after the words for one domain: `define`, `list`, `shutdown`, …

use std::path::PathBuf;

use clap::Args as Arguments;

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
