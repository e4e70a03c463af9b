//! `ferry check` from `kvm1` to `kvm2`, and what it must find: one rule and no other, with its mend. What was found is
//! written down as [`Shown`]. Main functions: [`expect`], [`in_order`].

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::Lab;
use crate::host::Host;
use crate::shown::{Made, Shown};

/// What a check found.
#[derive(Debug, Deserialize)]
pub struct Report {
    /// Every rule's answers.
    pub checked: Vec<Checked>,
    /// Rules that were left out.
    #[serde(default)]
    pub skipped: Vec<String>,
    /// How long it took.
    pub wall_ms: u64,
}

/// An answer.
#[derive(Debug, Deserialize)]
pub struct Checked {
    /// The rule's code.
    pub rule: String,
    /// `pass`, `warn` or `fail`.
    pub severity: String,
    /// What is so.
    pub message: String,
    /// Why it matters.
    pub why: String,
    /// What to do.
    #[serde(default)]
    pub mend: Option<String>,
}

impl Report {
    /// What is not in order.
    pub fn wrong(&self) -> Vec<&Checked> {
        self.checked.iter().filter(|checked| checked.severity != "pass").collect()
    }
}

/// A condition that is there now, and the one rule that must find it.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The rule's code.
    pub rule: &'a str,
    /// `warn` or `fail`.
    pub severity: &'a str,
    /// The condition, in words.
    pub condition: &'a str,
    /// How it was made.
    pub made: Made,
}

/// What is to be found on hosts of the lab.
pub fn real<'a>(rule: &'a str, severity: &'a str, condition: &'a str) -> Expected<'a> {
    Expected { rule, severity, condition, made: Made::Real }
}

/// Runs a check on a host; the report, and the exit code that came with it.
///
/// # Errors
/// When there is no report.
pub fn check(host: &Host, words: &[&str]) -> Result<(Report, i32)> {
    let output = host.ferry().args(["--json", "check"]).args(words).output().context("ip netns exec")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&said)
        .with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((report, output.status.code().unwrap_or(-1)))
}

/// Checks a domain of `kvm1`, with the options in `words`: what is not in order must be of the rule, and of its severity.
///
/// # Errors
/// When anything else is found, or nothing.
pub fn expect(lab: &Lab, words: &[&str], expected: Expected<'_>) -> Result<()> {
    let Expected { rule, severity, condition, made: _ } = expected;
    let (report, exit) = check(lab.kvm1(), &[words, &["--to", "kvm2"]].concat())?;
    let wrong = report.wrong();
    ensure!(!wrong.is_empty(), "{rule}: {condition}: nothing was found");
    for checked in &wrong {
        let is = (checked.rule.as_str(), checked.severity.as_str());
        ensure!(is == (rule, severity), "{rule}: {condition}: {wrong:#?}");
        ensure!(checked.mend.as_ref().is_some_and(|mend| !mend.is_empty()), "no mend: {checked:#?}");
        ensure!(!checked.why.is_empty() && !checked.message.is_empty(), "{checked:#?}");
    }
    let code = if severity == "fail" { 4 } else { 0 };
    ensure!(exit == code, "{rule}: exit code {exit}");
    shown(wrong[0], expected)
}

/// Writes down what was found as it was expected.
///
/// # Errors
/// When it cannot be written.
pub fn shown(found: &Checked, expected: Expected<'_>) -> Result<()> {
    let Expected { rule, severity, condition, made } = expected;
    let shown = Shown {
        rule: rule.to_owned(),
        made,
        condition: condition.to_owned(),
        severity: severity.to_owned(),
        message: found.message.clone(),
    };
    shown.write()
}

/// Checks that nothing is wrong.
///
/// # Errors
/// What was found.
pub fn in_order(lab: &Lab, domain: &str) -> Result<Report> {
    let (report, exit) = check(lab.kvm1(), &[domain, "--to", "kvm2"])?;
    ensure!(report.wrong().is_empty() && exit == 0, "exit {exit}: {:#?}", report.wrong());
    Ok(report)
}
