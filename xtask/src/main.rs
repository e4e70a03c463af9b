//! `cargo xtask …`: everything that a developer, or somebody who wants to see the product work, does with this
//! repository beside building it. Each command does its own set-up. Main type: [`Command`].
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people's terminals")]

mod apt;
mod bench;
mod chaos;
mod corpus;
mod cpio;
mod demo;
mod fuzz;
mod guest;
mod kernel;
mod kvm_host;
mod matrix;
mod package;
mod preflight;
mod previous;
mod reboot;
mod report;
mod setup;
mod test;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use crate::bench::Bench;
use crate::chaos::ChaosArguments;
use crate::demo::DemoArguments;
use crate::fuzz::FuzzArguments;
use crate::matrix::MatrixArguments;
use crate::setup::Purpose;
use crate::test::TestArguments;

/// Tasks of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what this machine lacks for demo and test
    Setup,
    /// Build the test guest: its program, its initramfs
    Guest {
        /// Also what a host that is a guest itself boots from, with the `ferry` that was built last
        #[arg(long)]
        hosts: bool,
    },
    /// Move a working guest from host to host and back, and show what that did to it
    Demo(DemoArguments),
    /// Run all checks and all tests
    Test(TestArguments),
    /// Make the Debian package
    Deb {
        /// Also install, upgrade and remove it in a clean root, around a guest
        #[arg(long = "try")]
        try_out: bool,
    },
    /// Build the release before this one, for the tests in which both work together
    Previous,
    /// Play the crash matrix: every moment of a migration, everything that can fail
    Matrix(MatrixArguments),
    /// Move a guest on and on, with faults at random instants
    Chaos(ChaosArguments),
    /// Boot guests of a whole Debian, and see bridges outlive it
    Reboot {
        /// With links configured by these: networkd (if none is named), network_manager, ifupdown
        keepers: Vec<String>,
    },
    /// Measure Ferry, and others at the same work
    #[command(subcommand)]
    Bench(Bench),
    /// Explore every order of events in a handover, and print how many states there are
    Model,
    /// Check the rules that no compiler checks
    Tidy,
    /// Write docs/preflight.md from the rules of the preflight
    Rules,
    /// Make the corpus of real definitions again, with virt-install and libvirt
    Corpus {
        /// Only these domains
        names: Vec<String>,
    },
    /// Give the readers of what others hand in made-up input, for some minutes
    Fuzz(FuzzArguments),
    /// The part of `corpus` that runs in namespaces of its own
    #[command(hide = true)]
    CorpusInside { names: Vec<String> },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
    let target = lab::target();
    match command {
        Command::Setup => setup::run(&target, Purpose::Test),
        Command::Guest { hosts } => {
            setup::run(&target, if hosts { Purpose::Slow } else { Purpose::Demo })?;
            guest::run(root, &target)?;
            if hosts { kvm_host::run(&target) } else { Ok(()) }
        }
        Command::Demo(arguments) => demo::run(root, &target, &arguments),
        Command::Test(arguments) => test::run(root, &target, &arguments),
        Command::Deb { try_out: true } => package::try_out(root, &target),
        Command::Deb { try_out: false } => package::deb(root, &target).map(|_| ()),
        Command::Previous => previous::run(root, &target),
        Command::Matrix(arguments) => matrix::run(root, &target, &arguments),
        Command::Chaos(arguments) => chaos::run(root, &target, &arguments),
        Command::Reboot { keepers } => reboot::try_out(root, &target, &keepers).map(|_| ()),
        Command::Bench(bench) => bench::run(root, &target, &bench),
        Command::Model => model(root),
        Command::Tidy => tidy::run(root),
        Command::Rules => preflight::write(root),
        Command::Fuzz(arguments) => fuzz::run(root, &arguments),
        Command::Corpus { names } => corpus::run(root, &names),
        Command::CorpusInside { names } => corpus::inside(root, &names),
    }
}

/// Builds the program as tests and demonstrations run it, unless `FERRY_BIN` names one.
fn build_ferry(root: &Path) -> Result<()> {
    if std::env::var_os("FERRY_BIN").is_some() {
        return Ok(());
    }
    eprintln!("building ferry");
    let status = std::process::Command::new("cargo")
        .current_dir(root)
        .args(["build", "--quiet", "--package", "ferry"])
        .stdout(std::io::stderr())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "ferry cannot be built");
    Ok(())
}

/// The model checker runs optimized: it visits very many states.
fn model(root: &Path) -> Result<()> {
    let status = std::process::Command::new("cargo")
        .current_dir(root)
        .args(["run", "--quiet", "--release", "--package", "migration", "--example", "model"])
        .status()
        .context("cargo")?;
    ensure!(status.success(), "the model does not hold: {status}");
    Ok(())
}
