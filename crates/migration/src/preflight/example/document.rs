//! The table of rules for people, made of the rules and of what their cases find. Main function: [`document`].

use std::fmt::Write;

use api::Severity;

use super::{Case, cases, changed};
use crate::preflight::{RULES, Selection, judge};

const INTRODUCTION: &str = "\
# Preflight

Written from the rules in `crates/migration/src/preflight` and their cases in `example` there, by `cargo xtask rules`.

`ferry check DOMAIN --to HOST` asks both hosts for their facts at once and judges them by the rules below; every `ferry
migrate` begins with the same. Nothing is changed: what is written beside a disk, to see whether the other host reads
it, is removed again. `fail` forbids the migration, `warn` does not. `--only RULE` and `--skip RULE` select; the rules
marked *always* cannot be skipped. Exit code 0: nothing forbids it; 4: something does.

Of a domain that is shut off, what its next start would lack is a warning, and a CPU that differs is none. Of disks that
`--copy-storage` takes along nothing is asked to be the same; their places on the target are looked at instead.

`--fix` makes the mends that take nothing from anybody, each shown first: it defines and starts the source's pool on the
target, starts a pool that is defined there, and makes a bridge there where one card, and no other, is up and has neither
address nor route. `cargo xtask test` prints how the condition of each rule was made, and what was found.
";

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Pass => "pass",
        Severity::Warn => "warn",
        Severity::Fail => "fail",
    }
}

/// What a case finds, as a row: a bar would end a cell.
fn row(case: &Case) -> String {
    let checked = judge(&changed(case.change), &Selection::default());
    let found = checked.iter().find(|checked| checked.rule == case.rule).expect("a case breaks its rule");
    let both = match (found.source.as_str(), found.target.as_str()) {
        ("", "") => String::new(),
        (source, "") => source.to_owned(),
        ("", target) => format!("→ {target}"),
        (source, target) => format!("{source} → {target}"),
    };
    let cells = [
        case.condition,
        word(found.severity),
        &both,
        found.mend.as_deref().unwrap_or_default(),
        if found.fix.is_some() { "yes" } else { "" },
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

/// `docs/preflight.md`.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for rule in RULES {
        let always = if rule.needed { " (*always*)" } else { "" };
        _ = write!(text, "\n## {}{always}\n\nLooks at: {}. Why: {}.\n\n", rule.code, rule.what, rule.why);
        text += "| where | finding | source → target | mend | `--fix` |\n|---|---|---|---|---|\n";
        cases().filter(|case| case.rule == rule.code).for_each(|case| text += &row(case));
    }
    text
}
