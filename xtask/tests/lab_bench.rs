//! The measurements themselves under test: everyone copies a small image, or moves a small guest, and every figure is there.

mod interrupted;

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// `cargo xtask bench`, with the `ferry` that came with the tests: built alone, it would be optimized, and take minutes.
fn bench(arguments: &[&str], results: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.env("FERRY_BIN", lab::target().join("debug/ferry")).arg("bench").args(arguments);
    command.arg("--results").arg(results).stdin(Stdio::null());
    command
}

#[test]
fn everyone_copies_a_small_image_and_is_measured() -> Result<()> {
    let results = tempfile::tempdir()?;
    let arguments = ["cold", "--size", "16", "--runs", "1", "--json"];
    let output = bench(&arguments, results.path()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{said}", output.status);
    let groups: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    assert_eq!(groups.len(), 6, "three images over two links:\n{said}");
    for group in groups {
        let allocated = group["allocated_bytes"].as_u64().context("no size")?;
        let rows = group["rows"].as_array().context("no rows")?;
        let mut tools: Vec<&str> = rows.iter().filter_map(|row| row["tool"].as_str()).collect();
        tools.dedup();
        assert_eq!(tools, ["ferry", "scp", "rsync", "rsync-zstd", "nbd", "nbd-tls"], "{said}");
        for row in rows {
            let sample = &row["samples"][0];
            let figure = |name: &str| sample.pointer(name).and_then(Value::as_f64).context(name.to_owned());
            ensure!(figure("/wall_s")? > 0.0 && figure("/machine_cpu_s")? > 0.0, "{row}");
            ensure!(figure("/source/memory_bytes")? > 0.0 && figure("/target/memory_bytes")? > 0.0, "{row}");
            let sent = figure("/sent_bytes")? as u64;
            let (least, most) = match (row["trip"].as_str(), row["tool"].as_str(), group["image"].as_str()) {
                (Some("second"), _, _) => (1 << 16, allocated / 2),
                (_, Some("scp" | "rsync"), Some("sparse")) => (10 * allocated, 11 * allocated),
                (_, Some("ferry" | "rsync-zstd"), _) => (allocated / 2, allocated * 11 / 10),
                (_, _, _) => (allocated * 9 / 10, allocated * 11 / 10),
            };
            ensure!((least..most).contains(&sent), "{sent} not from {least} to {most}: {row}");
        }
    }
    Ok(())
}

#[test]
fn everyone_moves_a_small_guest_and_is_measured() -> Result<()> {
    let results = tempfile::tempdir()?;
    let output = bench(&["live", "--smoke", "--json"], results.path()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}\n{said}", output.status);
    let live: Value = serde_json::from_slice(&output.stdout)?;
    let groups = live["groups"].as_array().context("no groups")?;
    let loads: Vec<&str> = groups.iter().filter_map(|group| group["load"].as_str()).collect();
    assert_eq!(loads, ["idle", "words", "pages"], "{said}");
    for group in groups {
        let rows = group["rows"].as_array().context("no rows")?;
        let names: Vec<&str> = rows.iter().filter_map(|row| row["contestant"].as_str()).collect();
        assert_eq!(names, ["ferry", "ferry-plaintext", "qemu"], "{said}");
        for row in rows {
            assert_eq!(row["samples"].as_array().map(Vec::len), Some(1), "{row}");
            let sample = &row["samples"][0];
            assert_eq!(sample["end"], "moved", "{row}");
            let figure = |name: &str| sample.pointer(name).and_then(Value::as_f64).context(name.to_owned());
            // A move without a silence was none, and one takes longer than its silence.
            let (wall_ms, blackout_ms) = (1e3 * figure("/wall_s")?, figure("/blackout_ms")?);
            ensure!(0.0 < blackout_ms && blackout_ms < wall_ms, "{row}");
            ensure!(figure("/work")? > 0.0 && figure("/undisturbed/work_per_s")? > 0.0, "{row}");
            ensure!(figure("/cpu_s")? > 0.0 && figure("/undisturbed/processors")? > 0.0, "{row}");
            // The pattern does not compress, and a guest has more memory in use than that.
            let pattern_bytes = 1048576.0 * group["pattern_mib"].as_f64().context("no pattern")?;
            ensure!(figure("/sent_bytes")? > pattern_bytes && figure("/back_bytes")? > 0.0, "{row}");
        }
    }
    // Three loads, twice each.
    let runs = live["forecast"]["runs"].as_u64().context("no forecast")?;
    ensure!((1..=6).contains(&runs), "{runs} of 6 runs were predicted");
    Ok(())
}

#[test]
fn an_interrupted_measurement_leaves_nothing() -> Result<()> {
    let results = tempfile::tempdir()?;
    let command = bench(&["live", "--smoke", "--contestant", "ferry,qemu"], results.path());
    // While the second guest boots or moves.
    interrupted::leaves_nothing(command, "bench: idle", |line| line.strip_prefix("bench: lab "))
}
