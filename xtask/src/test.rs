//! `cargo xtask test`: every check and every test there is, in the order in which they are cheap, and at the end what
//! was run, how it went and how long it took. Goes on after a failure, so one run shows them all. With `--all`, also
//! what takes too long for every change. Main type: [`TestArguments`].

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::setup::{self, Purpose};
use crate::{guest, matrix, package, previous, tidy};

/// What nextest begins its last line with.
const SUMMARY: &str = "Summary [";

/// Options of the tests.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Also what takes too long for every change
    #[arg(long)]
    all: bool,
}

/// One part of the whole.
struct Step {
    name: &'static str,
    result: Result<Option<String>>,
    took: Duration,
}

/// Runs everything.
pub(crate) fn run(root: &Path, target: &Path, arguments: &TestArguments) -> Result<()> {
    let began = Instant::now();
    let mut steps = Vec::new();
    let mut step = |name, job: &dyn Fn() -> Result<Option<String>>| {
        eprintln!("\ntest: {name}");
        let began = Instant::now();
        let result = job();
        if let Err(error) = &result {
            eprintln!("test: {name}: {error:#}");
        }
        steps.push(Step { name, result, took: began.elapsed() });
    };
    let purpose = if arguments.all { Purpose::All } else { Purpose::Test };
    step("setup", &|| setup::run(target, purpose).map(|()| None));
    step("format", &|| cargo(root, &["fmt", "--all", "--check"]));
    step("tidy", &|| tidy::run(root).map(|()| None));
    step("clippy", &|| {
        cargo(root, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    });
    step("tests without guests", &|| cargo(root, &["nextest", "run", "--workspace"]));
    step("build of ferry", &|| cargo(root, &["build", "--quiet", "--package", "ferry"]));
    step("build of the guest", &|| guest::run(root, target).map(|_| None));
    step("tests with guests (lab)", &|| cargo(root, &["nextest", "run", "--workspace", "--profile", "lab"]));
    if arguments.all {
        step("package in a clean root", &|| package::try_out(root, target).map(|()| None));
        step("build of the previous release", &|| previous::run(root, target).map(|()| None));
        let long = ["nextest", "run", "--workspace", "--profile", "all", "--no-tests", "pass"];
        step("long tests (all)", &|| cargo(root, &long));
        step("crash matrix", &|| matrix::play(|_| true).map(|count| Some(format!("{count} cells"))));
    }

    eprintln!("\ntest: what was run:");
    for Step { name, result, took } in &steps {
        let (word, detail) = match result {
            Ok(detail) => ("ok", detail.as_deref().unwrap_or_default()),
            Err(_) => ("FAILED", ""),
        };
        eprintln!("  {word:6} {:7.1} s  {name}  {detail}", took.as_secs_f64());
    }
    eprintln!("test: {:.0} s in all", began.elapsed().as_secs_f64());
    let failed: Vec<&str> = steps.iter().filter(|step| step.result.is_err()).map(|step| step.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs cargo and shows what it says; returns what a test runner counted, if it did.
fn cargo(root: &Path, arguments: &[&str]) -> Result<Option<String>> {
    let mut child = Command::new("cargo")
        .current_dir(root)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cargo")?;
    let mut summary = None;
    let stderr = child.stderr.take().context("cargo has no standard error")?;
    for line in BufReader::new(stderr).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some((_, counts)) = line.split_once(SUMMARY) {
            summary = counts.split_once(']').map(|(_, counts)| counts.trim().to_owned());
        }
        eprintln!("{line}");
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "cargo {}: {status}{}",
            arguments.join(" "),
            summary.map_or(String::new(), |counts| format!(": {counts}"))
        );
    }
    Ok(summary)
}
