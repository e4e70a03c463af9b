//! The demo itself under test: what it prints, that it holds, and that it leaves nothing when it is interrupted.

mod interrupted;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    // It came with the tests; built alone, it would have other libraries, and be compiled again.
    command.env("FERRY_BIN", lab::target().join("debug/ferry"));
    command.arg("demo").args(arguments).stdin(Stdio::null());
    command
}

/// Runs a whole demo and looks at its last line.
fn check(arguments: &[&str], moves: usize) -> Result<()> {
    let output = demo(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{said}", output.status);
    let check = said.split("$ ferry check web1 --to kvm2 --all\n").nth(1);
    let found =
        check.and_then(|said| said.split_once("kvm1 $ ferry migrate")).context("it begins with a check")?.0;
    ensure!(found.contains("Nothing forbids it.") && found.contains("warnings: 0."), "{found}");
    ensure!(found.contains("pass storage-not-shared (vda)"), "{found}");
    let printed = String::from_utf8(output.stdout)?;
    let report: Value = serde_json::from_str(printed.lines().last().context("nothing printed")?)?;
    let expect = json!({
        "outcome": "moved", "records_lost": 0, "memory_errors": 0, "boot_id_changed": false,
        "runners_seen_max": 1, "guest_requests_repeated": 0, "leaks": [], "failures": [],
    });
    for (name, value) in expect.as_object().context("an object")? {
        assert_eq!(&report[name], value, "{name} in {report}");
    }
    for list in ["longest_gap_ms", "downtime_ms", "wall_s", "bytes"] {
        assert_eq!(report[list].as_array().map(Vec::len), Some(moves), "{list} in {report}");
    }
    Ok(())
}

#[test]
fn one_trip_holds_in_every_figure() -> Result<()> {
    check(&["--json", "--trips", "1"], 2)
}

#[test]
fn one_trip_on_bridges_with_spanning_tree() -> Result<()> {
    check(&["--json", "--trips", "1", "--stp"], 2)
}

#[test]
fn an_interrupted_demo_leaves_nothing() -> Result<()> {
    // While the first move is under way.
    interrupted::leaves_nothing(demo(&["--json"]), "ferry migrate", |line| {
        line.strip_prefix("lab ")?.split(':').next()
    })
}
