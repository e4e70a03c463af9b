//! `cargo xtask bench`: what Ferry takes, beside what others take for the same on the same machine. Main type: [`Bench`].

mod cold;
mod document;
mod figures;
mod image;
mod live;
mod page;
mod results;
mod scale;
mod servers;
mod table;
mod tool;
mod usage;

use std::path::Path;

use anyhow::Result;
use clap::Subcommand;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Copy a disk image from host to host, by every means there is
    ///
    /// Two hosts of the lab, the same images for everyone, copies compared afterwards. Whoever takes part runs once, then
    /// everyone again. Results lie below target/bench/cold, a file for each image and link.
    Cold(cold::Arguments),
    /// Move a guest that works from host to host, by every means there is
    ///
    /// Two hosts of the lab, the same guest for everyone, booted afresh each time. Whoever takes part runs once, then everyone
    /// again. Results lie below target/bench/live, a file for each load. All of it takes hours.
    Live(live::Arguments),
    /// Define many domains on an agent, and the same on a libvirtd, and list them
    Scale(scale::Arguments),
}

/// Sets everything up and measures.
pub(crate) fn run(root: &Path, target: &Path, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Cold(arguments) => cold::run(root, target, arguments),
        Bench::Live(arguments) => live::run(root, target, arguments),
        Bench::Scale(arguments) => scale::run(root, target, arguments),
    }
}
