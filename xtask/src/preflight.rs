//! The rules of the preflight: their document, and the table of what the tests have seen them find. Main functions:
//! [`write`], [`is_written`], [`table`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use lab::shown::Shown;
use migration::preflight::{RULES, example};

/// The document of the rules, below the repository.
pub(crate) const DOCUMENT: &str = "docs/preflight.md";

/// Writes the document.
pub(crate) fn write(root: &Path) -> Result<()> {
    fs::write(root.join(DOCUMENT), example::document()).context(DOCUMENT)
}

/// Whether the document is as the rules are.
pub(crate) fn is_written(root: &Path) -> bool {
    fs::read_to_string(root.join(DOCUMENT)).is_ok_and(|written| written == example::document())
}

/// Prints what the tests have seen since [`Shown::forget`]. With an error where a rule was seen to find nothing.
pub(crate) fn table(target: &Path) -> Result<String> {
    let shown = Shown::read(target)?;
    eprintln!("rule, how its condition was made, what it found:\n{}", lines(&shown).join("\n"));
    let codes: Vec<&str> = RULES.iter().map(|rule| rule.code).collect();
    let missing = missing(&codes, &shown);
    ensure!(missing.is_empty(), "no test has seen these rules find anything: {}", missing.join(", "));
    Ok(format!("{} rules, {} conditions", codes.len(), shown.len()))
}

fn missing<'a>(codes: &[&'a str], shown: &[Shown]) -> Vec<&'a str> {
    codes.iter().copied().filter(|code| !shown.iter().any(|shown| shown.rule == *code)).collect()
}

fn lines(shown: &[Shown]) -> Vec<String> {
    let line = |Shown { rule, made, condition, severity, message }: &Shown| {
        format!("  {rule:27} {made:9} {severity:5} {condition} → {message}")
    };
    shown.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use lab::shown::Made;

    use super::*;

    #[test]
    fn a_condition_is_a_line_and_a_rule_without_one_is_missed() {
        let shown = [Shown {
            rule: "nx-differs".into(),
            made: Made::Recorded,
            condition: "NX is off".into(),
            severity: "fail".into(),
            message: "nx is on at kvm1 and off at kvm2".into(),
        }];
        let expected =
            "  nx-differs                  recorded  fail  NX is off → nx is on at kvm1 and off at kvm2";
        assert_eq!(lines(&shown), [expected]);
        assert_eq!(missing(&["nx-differs", "mtu-differs"], &shown), ["mtu-differs"]);
    }
}
