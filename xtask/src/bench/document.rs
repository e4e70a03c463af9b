//! docs/benchmarks.md: each bench writes a part of its own there and leaves the others as they are. Main function: [`write`].
//! It measures nothing.
//!
//! ```text
//! <!-- live -->
//! the part, in Markdown
//! <!-- end of live -->
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// The document of the results, below the repository.
const DOCUMENT: &str = "docs/benchmarks.md";

/// Writes the part of one bench.
pub(crate) fn write(root: &Path, part: &str, text: &str) -> Result<()> {
    let path = root.join(DOCUMENT);
    let before = fs::read_to_string(&path).context(DOCUMENT)?;
    fs::write(path, with_part(&before, part, text)).context(DOCUMENT)
}

/// The document with another text in the place of a part; a part that it has not yet comes last.
fn with_part(document: &str, part: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->\n"));
    let around = document.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    match around {
        Some((before, after)) => format!("{before}{begin}{text}{end}{after}"),
        None => format!("{document}\n{begin}{text}{end}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, part: &str, expect: &str) {
        assert_eq!(with_part(document, part, "new\n"), expect, "{document}");
    }

    #[test]
    fn a_part_is_replaced_and_all_else_stays() {
        let two =
            "# B\n\n<!-- cold -->\nold\n<!-- end of cold -->\n\n<!-- live -->\nold\n\n<!-- end of live -->\n";
        check(two, "cold", &two.replacen("old\n", "new\n", 1));
        check(two, "live", &two.replace("old\n\n", "new\n"));
        check("# B\n", "live", "# B\n\n<!-- live -->\nnew\n<!-- end of live -->\n");
    }

    #[test]
    fn the_document_has_the_parts_that_are_written() {
        let document = include_str!("../../../docs/benchmarks.md");
        for part in [super::super::page::PART, super::super::live::PART, super::super::scale::PART] {
            let begin = format!("<!-- {part} -->\n");
            assert_eq!(document.matches(&begin).count(), 1, "{part}");
            let text = document.split_once(&begin).and_then(|(_, rest)| rest.split_once("<!-- end of "));
            let (text, after) = text.expect("it ends");
            assert!(after.starts_with(&format!("{part} -->\n")), "{part} does not end where it ends");
            assert_eq!(with_part(document, part, text), document, "{part}");
        }
    }
}
