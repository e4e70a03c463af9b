//! `cargo xtask tidy`: the rules of `docs/style.md` and `docs/architecture.md` that a program can check. It
//! prints every violation at once, mends nothing, and builds nothing. The main function is [`run`].
//!
//! | part | looks at |
//! |---|---|
//! | `source` | the text of one Rust file |
//! | `text` | any text file |
//! | `crates` | the workspace's crates and their edges, against `docs/architecture.md` |
//! | `dependencies` | licences, bans, sources and duplicates, against `deny.toml` |

mod crates;
mod dependencies;
mod lexer;
mod source;
mod text;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::preflight;

/// Folders that hold nothing written here.
const FOLDERS_SKIPPED: [&str; 2] = ["target", "node_modules"];

/// In a worktree of git a file, which says where the repository is on this machine.
const WORKTREE: &str = ".git";

/// The platform whose dependencies count: the only one that Ferry runs on.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// One place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Relative to the repository.
    file: PathBuf,
    /// From 1; 0 for the file as a whole.
    line: usize,
    /// What is wrong and what to do instead.
    message: String,
}

impl Violation {
    fn new(file: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Violation {
        Violation { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Checks the repository at `root`.
///
/// # Errors
/// If any rule is broken, after each violation was printed; if the repository cannot be read.
pub(crate) fn run(root: &Path) -> Result<()> {
    let violations = check(root)?;
    for violation in &violations {
        println!("{violation}");
    }
    match violations.len() {
        0 => Ok(()),
        1 => bail!("one place is not tidy: see above, and docs/style.md for the reasons"),
        many => bail!("{many} places are not tidy: see above, and docs/style.md for the reasons"),
    }
}

fn check(root: &Path) -> Result<Vec<Violation>> {
    let metadata = metadata(root)?;
    let mut violations = crates::check(root, &metadata)?;
    violations.extend(dependencies::check(root, &metadata)?);
    if !preflight::is_written(root) {
        let message = "is not as the rules of the preflight are: run `cargo xtask rules`";
        violations.push(Violation::new(preflight::DOCUMENT, 0, message));
    }
    let pure = crates::pure_folders();
    for file in files(root)? {
        let full = root.join(&file);
        // What is not UTF-8 is no text, so no rule is for it.
        let Ok(content) = fs::read_to_string(&full) else { continue };
        violations.extend(text::check(&file, &content));
        if file.extension().is_some_and(|extension| extension == "rs") {
            let is_pure = pure.iter().any(|folder| file.starts_with(folder));
            violations.extend(source::check(&file, &content, is_pure));
        }
    }
    violations.sort();
    Ok(violations)
}

fn metadata(root: &Path) -> Result<Value> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--format-version=1", "--filter-platform", PLATFORM])
        .current_dir(root)
        .output()
        .context("cannot start cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed in {}: {}",
        root.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata printed something else than JSON")
}

/// Every file below `root` that was written here, sorted; hidden folders are left out except `.config`
/// and `.ci`.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let kind = entry.file_type().with_context(|| format!("cannot look at {}", path.display()))?;
            let hidden = name.starts_with('.') && name != ".config" && name != ".ci";
            if kind.is_dir() && !hidden && !FOLDERS_SKIPPED.contains(&name.as_ref()) {
                folders.push(path);
            } else if kind.is_file() && name != WORKTREE {
                let relative = path.strip_prefix(root).context("a file below the root")?;
                found.push(relative.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_repository_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let violations = check(root).unwrap();
        let lines: Vec<_> = violations.iter().map(Violation::to_string).collect();
        assert!(lines.is_empty(), "{}", lines.join("\n"));
    }

    #[test]
    fn a_violation_names_its_place() {
        let at = |line| Violation::new("a/b.rs", line, "is wrong").to_string();
        assert_eq!(at(3), "a/b.rs:3: is wrong");
        assert_eq!(at(0), "a/b.rs: is wrong");
    }

    #[test]
    fn the_walk_finds_what_was_written_here() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = files(root).unwrap();
        for file in ["xtask/src/tidy.rs", "deny.toml", ".config/nextest.toml", "docs/style.md"] {
            assert!(files.contains(&PathBuf::from(file)), "{file} was not found");
        }
        let strays: Vec<_> =
            files.iter().filter(|file| file.starts_with("target") || file.starts_with(".git")).collect();
        assert!(strays.iter().all(|file| file.as_path() == Path::new(".gitignore")), "{strays:?}");
    }
}
