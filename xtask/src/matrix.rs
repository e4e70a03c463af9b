//! `cargo xtask matrix`: plays the crash matrix, all of it or the cells that are named, and prints what became of each
//! and the table of it. Main type: [`MatrixArguments`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use lab::matrix::play::{Played, play_all};
use lab::matrix::{FAULTS, Fault, KINDS, Kind, Moment, cells};

use crate::setup::{self, Purpose};
use crate::{build_ferry, guest};

/// So many cells are played at once unless something else is said. They wait for time-outs and for memory on bounded links;
/// more than two guests at a time would wait for each other.
pub(crate) const JOBS: u8 = 2;

/// Options of the matrix.
#[derive(Debug, Args)]
pub(crate) struct MatrixArguments {
    /// Only cells whose name contains this; the names are in the list
    #[arg(value_name = "PART")]
    only: Vec<String>,
    /// Print the names of the cells, and play none
    #[arg(long)]
    list: bool,
    /// Play so many cells at once, each in a lab of its own: they mostly wait
    #[arg(long, value_name = "N", default_value_t = JOBS, value_parser = clap::value_parser!(u8).range(1..))]
    jobs: u8,
}

/// Sets everything up and plays cells.
pub(crate) fn run(root: &Path, target: &Path, arguments: &MatrixArguments) -> Result<()> {
    let named =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part));
    if arguments.list {
        for cell in cells().into_iter().filter(|cell| named(&cell.to_string())) {
            println!("{cell}");
        }
        return Ok(());
    }
    setup::run(target, Purpose::All)?;
    ensure!(setup::is_root(), "the lab makes network namespaces and taps, and only root may do that");
    guest::run(root, target)?;
    build_ferry(root)?;
    play(named, arguments.jobs).map(drop)
}

/// Plays the cells that are named, and returns how many there were. Everything they need is there.
pub(crate) fn play(named: impl Fn(&str) -> bool, jobs: u8) -> Result<usize> {
    let began = Instant::now();
    let chosen: Vec<_> = cells().into_iter().filter(|cell| named(&cell.to_string())).collect();
    ensure!(!chosen.is_empty(), "no cell has such a name: cargo xtask matrix --list");
    let count = chosen.len();
    let mut number = 0;
    let played = play_all(chosen, jobs.into(), |Played { cell, result, took }| {
        number += 1;
        let took = took.as_secs_f64();
        match result {
            Ok(outcome) => eprintln!("matrix: {number:3}/{count} {took:5.1} s  {cell}: {outcome}"),
            Err(error) => eprintln!("matrix: {number:3}/{count} {took:5.1} s  {cell}: FAILED: {error:#}"),
        }
    });
    eprintln!("{}", KINDS.map(|kind| table(kind, &played)).concat());
    let failed: Vec<String> = played
        .iter()
        .filter(|one| one.result.is_err())
        .map(|one| format!("  {}: {:#}", one.cell, one.result.as_ref().expect_err("it is filtered so")))
        .collect();
    eprintln!("matrix: {count} cells, {} failed, {:.0} s", failed.len(), began.elapsed().as_secs_f64());
    ensure!(failed.is_empty(), "cells of the crash matrix failed:\n{}", failed.join("\n"));
    Ok(count)
}

/// What became of the domain, and the longest time that it took, by fault and moment.
fn table(kind: Kind, played: &[Played]) -> String {
    let mut found: BTreeMap<(Fault, Moment), (Vec<String>, Duration)> = BTreeMap::new();
    for Played { cell, result, took } in played.iter().filter(|one| one.cell.kind == kind) {
        let (words, longest) = found.entry((cell.fault, cell.moment)).or_default();
        let word = result.as_ref().map_or("FAILED".to_owned(), ToString::to_string);
        if !words.contains(&word) {
            words.push(word);
        }
        *longest = (*longest).max(*took);
    }
    if found.is_empty() {
        return String::new();
    }
    let moments: String = kind.moments().iter().map(|moment| format!("{moment:18}")).collect();
    let mut text = format!("\n{kind:32}{moments}\n");
    for fault in FAULTS.into_iter().filter(|fault| found.keys().any(|(of, _)| of == fault)) {
        text += &format!("{fault:32}");
        for moment in kind.moments() {
            let words = found.get(&(fault, *moment)).map_or(String::new(), |(words, longest)| {
                format!("{} {:.0} s", words.join("/"), longest.as_secs_f64())
            });
            text += &format!("{words:18}");
        }
        text += "\n";
    }
    text
}
