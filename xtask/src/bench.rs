//! `cargo xtask bench`: what Ferry takes, beside what others take for the same on the same machine. Main type: [`Bench`].

mod cold;
mod figures;
mod image;
mod page;
mod servers;
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
}

/// Sets everything up and measures.
pub(crate) fn run(root: &Path, target: &Path, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Cold(arguments) => cold::run(root, target, arguments),
    }
}
