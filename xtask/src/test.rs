//! `cargo xtask test`: every check and every test there is, in the order in which they are cheap, and at the end what
//! was run, how it went and how long it took. Goes on after a failure, so one run shows them all. With `--all`, also
//! what takes too long for every change; with `--slow`, what needs hosts with a kernel of their own. Main type:
//! [`TestArguments`].

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use lab::shown::Shown;

use crate::setup::{self, Purpose};
use crate::{chaos, guest, kvm_host, matrix, package, preflight, previous, reboot, tidy};

/// What nextest begins its last line with.
const SUMMARY: &str = "Summary [";

/// So long faults come at random instants, with `--all`.
const CHAOS_MIN: u64 = 3;

/// Options of the tests.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// Also what takes too long for every change
    #[arg(long)]
    all: bool,
    /// Also what needs hosts with a kernel of their own, which are guests here
    #[arg(long)]
    slow: bool,
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
    Shown::forget(target)?;
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
    if arguments.slow {
        step("setup of hosts that are guests", &|| setup::run(target, Purpose::Slow).map(|()| None));
    }
    step("format", &|| cargo(root, &["fmt", "--all", "--check"]));
    step("tidy", &|| tidy::run(root).map(|()| None));
    step("clippy", &|| {
        cargo(root, &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])
    });
    // Builds the program too: with the libraries that the tests have, which a build of it alone would compile again.
    step("tests without guests", &|| cargo(root, &["nextest", "run", "--workspace"]));
    step("build of the guest", &|| guest::run(root, target).map(|_| None));
    step("tests with guests (lab)", &|| cargo(root, &["nextest", "run", "--workspace", "--profile", "lab"]));
    if arguments.slow {
        step("build of hosts that are guests", &|| kvm_host::run(target).map(|()| None));
        step("tests with such hosts (slow)", &|| {
            cargo(root, &["nextest", "run", "--workspace", "--profile", "slow"])
        });
    }
    if arguments.all {
        step("package in a clean root", &|| package::try_out(root, target).map(|()| None));
        step("build of the previous release", &|| previous::run(root, target).map(|()| None));
        step("long tests (all)", &|| cargo(root, &["nextest", "run", "--workspace", "--profile", "all"]));
        step("crash matrix", &|| {
            matrix::play(|_| true, matrix::JOBS).map(|count| Some(format!("{count} cells")))
        });
        step("faults at random instants (chaos)", &|| chaos::play_for(CHAOS_MIN).map(Some));
    }
    if arguments.slow {
        step("bridges across a reboot (slow)", &|| reboot::try_out(root, target, &[]).map(Some));
    }

    step("rules of the preflight", &|| preflight::table(target).map(Some));

    eprintln!("\ntest: what was run:\n{}", table(&steps));
    eprintln!("test: {:.0} s in all", began.elapsed().as_secs_f64());
    let failed: Vec<&str> = steps.iter().filter(|step| step.result.is_err()).map(|step| step.name).collect();
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// A line for each step: how it went, how long it took, what it was, and what it counted or why it failed.
fn table(steps: &[Step]) -> String {
    let lines = steps.iter().map(|Step { name, result, took }| {
        let (word, detail) = match result {
            Ok(detail) => ("ok", detail.clone().unwrap_or_default()),
            Err(error) => ("FAILED", error.to_string().lines().next().unwrap_or_default().to_owned()),
        };
        let line = format!("  {word:6} {:7.1} s  {name:33}  {detail}", took.as_secs_f64());
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
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

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn every_step_has_a_line() {
        let steps = [
            Step { name: "tidy", result: Ok(None), took: Duration::from_millis(3210) },
            Step {
                name: "crash matrix",
                result: Ok(Some("189 cells".to_owned())),
                took: Duration::from_secs(900),
            },
            Step {
                name: "clippy",
                result: Err(anyhow!("cargo clippy: exit 101\nmore")),
                took: Duration::ZERO,
            },
        ];
        let expected = "  ok         3.2 s  tidy\n  \
                          ok       900.0 s  crash matrix                       189 cells\n  \
                          FAILED     0.0 s  clippy                             cargo clippy: exit 101";
        assert_eq!(table(&steps), expected);
    }
}
