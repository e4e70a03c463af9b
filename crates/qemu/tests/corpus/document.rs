//! The tables of `docs/compatibility.md`, which are the tests' data: a row that is not there fails a test, and so does
//! one that nothing needs any more. The main function is [`rows`].

use std::path::Path;

/// The cells of the table under a heading, without its head. Every cell is trimmed; backquotes are taken off.
pub(crate) fn rows<const COLUMNS: usize>(heading: &str) -> Vec<[String; COLUMNS]> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let text = std::fs::read_to_string(&file).expect("docs/compatibility.md is there");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("it has the heading");
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    lines
        .map(|line| {
            let cells: Vec<String> = line
                .trim_matches('|')
                .split(" | ")
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect();
            cells.try_into().unwrap_or_else(|cells| panic!("{line}: {COLUMNS} cells, not {cells:?}"))
        })
        .collect()
}
