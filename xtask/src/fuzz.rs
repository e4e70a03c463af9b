//! `cargo xtask fuzz`: gives the readers of what others hand in (`fuzz/fuzz_targets`) made-up input for some minutes. It
//! installs cargo-fuzz where it is missing; what it finds lies in `fuzz/artifacts`. New inputs stay below `target/fuzz`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::setup;

/// Every target, with where more first inputs lie.
const TARGETS: [(&str, Option<&str>); 3] =
    [("domain_xml", Some("crates/domain/tests/corpus")), ("qmp", None), ("journal", None)];

/// Longest input in bytes; a real definition has some thousand.
const INPUT_BYTES_MAX: usize = 16 << 10;

/// Longest time for one input, in seconds: longer is a fault.
const INPUT_SECONDS_MAX: usize = 5;

/// What may be typed.
#[derive(Debug, Args)]
pub(crate) struct FuzzArguments {
    /// How long each target gets
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Only this one: `domain_xml`, `qmp` or `journal`
    target: Option<String>,
}

/// Runs the targets one after the other.
///
/// # Errors
/// There is no such target, or one found a fault.
pub(crate) fn run(root: &Path, arguments: &FuzzArguments) -> Result<()> {
    let wanted = |name: &str| arguments.target.as_deref().is_none_or(|target| target == name);
    let targets: Vec<_> = TARGETS.into_iter().filter(|(name, _)| wanted(name)).collect();
    ensure!(!targets.is_empty(), "there is no such target: {}", TARGETS.map(|(name, _)| name).join(", "));
    setup::cargo_fuzz()?;
    let mut failed = Vec::new();
    for (name, seeds) in targets {
        if let Err(error) = fuzz(root, name, seeds, arguments.minutes) {
            eprintln!("fuzz: {name}: {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "faults were found by {}: see fuzz/artifacts", failed.join(", "));
    Ok(())
}

fn fuzz(root: &Path, name: &str, seeds: Option<&str>, minutes: u64) -> Result<()> {
    let work = root.join("target/fuzz").join(name);
    fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let mut command = Command::new("cargo");
    command
        .current_dir(root)
        .args(["fuzz", "run", "--sanitizer", "none", "--features", "fuzzer", name])
        .arg(&work);
    command.arg(root.join("fuzz/corpus").join(name));
    command.args(seeds.map(|folder| root.join(folder)));
    command.arg("--").args([
        format!("-max_total_time={}", minutes * 60),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        "-print_final_stats=1".to_owned(),
    ]);
    if let Some(folder) = seeds {
        command.arg(format!("-dict={}", dictionary(root, folder, name)?.display()));
    }
    // cargo-fuzz asks for flags of the compiler that are not stable; no sanitizer is asked for.
    let status = command.env("RUSTC_BOOTSTRAP", "1").stdin(Stdio::null()).status().context("cargo fuzz")?;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// The words of the first inputs, so that the fuzzer does not have to guess them, in libFuzzer's form.
fn dictionary(root: &Path, folder: &str, name: &str) -> Result<PathBuf> {
    let mut words = BTreeSet::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == "xml") {
                words.extend(words_of(&fs::read_to_string(&path)?));
            }
        }
    }
    let lines: String = words.into_iter().map(|word| format!("\"{word}\"\n")).collect();
    let file = root.join("target/fuzz").join(format!("{name}.dict"));
    fs::write(&file, lines).with_context(|| file.display().to_string())?;
    Ok(file)
}

fn words_of(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_".contains(letter));
    words.filter(|word| (2..20).contains(&word.len())).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_words() {
        let words = words_of("<disk type='file'><source file='/a/b-c.img'/></disk>");
        assert_eq!(words.into_iter().collect::<Vec<_>>(), ["b-c", "disk", "file", "img", "source", "type"]);
    }

    #[test]
    fn every_target_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace");
        for (name, seeds) in TARGETS {
            assert!(root.join(format!("fuzz/fuzz_targets/{name}.rs")).is_file(), "{name}");
            assert!(seeds.is_none_or(|folder| root.join(folder).is_dir()), "{name}");
        }
    }
}
