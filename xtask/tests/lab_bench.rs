//! The measurement itself under test: everyone copies a small image, and every figure is there.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

#[test]
fn everyone_copies_a_small_image_and_is_measured() -> Result<()> {
    let results = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        // It came with the tests; built alone, it would be optimized, and take minutes.
        .env("FERRY_BIN", lab::target().join("debug/ferry"))
        .args(["bench", "cold", "--size", "16", "--runs", "1", "--json", "--results"])
        .arg(results.path())
        .stdin(Stdio::null())
        .output()?;
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
