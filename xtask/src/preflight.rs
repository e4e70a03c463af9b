//! The rules of the preflight as `docs/preflight.md` has them, which a test writes and compares: for each the conditions
//! that it was shown on, and how they were made. Main function: [`table`].

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A line for each case: the rule, how its condition was made, what it finds and under which condition.
pub(crate) fn table(root: &Path) -> Result<String> {
    let path = root.join("docs/preflight.md");
    let document = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(lines(&document).join("\n"))
}

fn lines(document: &str) -> Vec<String> {
    let mut rule = "";
    let mut lines = Vec::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            rule = heading.split(' ').next().unwrap_or(heading);
        }
        // A bar inside a cell is written with a backslash before it.
        let line = line.replace("\\|", "\0");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let ["", condition, finding @ ("warn" | "fail"), _both, _mend, made, ""] = cells[..] {
            lines.push(format!("  {rule:27} {made:11} {finding:5} {}", condition.replace('\0', "|")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_case_is_a_line() {
        let document = "# Preflight\n\n## nx-differs (*always*)\n\nLooks at: NX.\n\n\
            | where | finding | source → target | mend | shown on |\n|---|---|---|---|---|\n\
            | NX is off \\| on | warn | on → off | dmesg \\| grep | facts |\n";
        assert_eq!(lines(document), ["  nx-differs                  facts       warn  NX is off | on"]);
    }
}
