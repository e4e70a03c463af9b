//! `docs/preflight.md` is written from the rules and their cases. `INSTA_UPDATE=always` writes it anew; without, a
//! document that is not as the code is red.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use api::Severity;
use migration::preflight::{RULES, Selection, judge};

use crate::cases::{CASES, Case};
use crate::changed;

const INTRODUCTION: &str = "\
# Preflight

Written from the rules in `crates/migration/src/preflight` and their cases in `crates/migration/tests/preflight`; change
them and run `INSTA_UPDATE=always cargo nextest run -p migration`.

`ferry check DOMAIN --to HOST` asks both hosts for their facts at once and judges them by the rules below; every `ferry
migrate` begins with the same. Nothing is changed: what is written beside a disk, to see whether the other host reads
it, is removed again. `fail` forbids the migration, `warn` does not. `--only RULE` and `--skip RULE` select; the rules
marked *always* cannot be skipped. Exit code 0: nothing forbids it; 4: something does.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

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
        case.made_by.map_or("facts", |_| "real hosts"),
    ];
    let cells = cells.map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.join(" | "))
}

fn document() -> String {
    let mut text = String::from(INTRODUCTION);
    for rule in RULES {
        let always = if rule.needed { " (*always*)" } else { "" };
        _ = write!(text, "\n## {}{always}\n\nLooks at: {}. Why: {}.\n\n", rule.code, rule.what, rule.why);
        text += "| where | finding | source → target | mend | shown on |\n|---|---|---|---|---|\n";
        CASES.iter().filter(|case| case.rule == rule.code).for_each(|case| text += &row(case));
    }
    text
}

#[test]
fn the_document_is_as_the_rules_are() {
    let path = root().join("docs/preflight.md");
    let text = document();
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        std::fs::write(&path, &text).expect("docs can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == text, "docs/preflight.md is not as the rules are: run with INSTA_UPDATE=always");
}

#[test]
fn the_tests_that_make_conditions_are_there() {
    let files = [("lab_check", "crates/lab/tests/lab_check.rs")];
    for case in CASES {
        let Some(test) = case.made_by else { continue };
        let (file, name) = test.split_once("::").expect("file::test");
        let (_, path) = files.iter().find(|(known, _)| *known == file).expect("a file of tests");
        let content = std::fs::read_to_string(root().join(path)).expect("the file is there");
        assert!(content.contains(&format!("fn {name}(")), "{path} has no test {name}");
        assert!(content.contains(&format!("\"{}\"", case.rule)), "{path} does not name {}", case.rule);
    }
}
