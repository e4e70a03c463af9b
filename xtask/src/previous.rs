//! `cargo xtask previous`: builds the release before this one, for the tests in which the two work together. Its files
//! come out of this clone; nothing is fetched. Main function: [`run`].

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use lab::previous::Previous;

/// Builds it, unless it is built.
///
/// # Errors
/// When this clone does not have that revision, or it does not build.
pub(crate) fn run(root: &Path, target: &Path) -> Result<()> {
    let previous = Previous::below(target);
    if previous.ferry().exists() {
        eprintln!("previous: {} is built", previous.revision);
        return Ok(());
    }
    unpack(root, &previous)?;
    eprintln!("previous: building {}", previous.revision);
    let status = Command::new("cargo")
        .current_dir(previous.source())
        .args(["build", "--quiet", "--package", "ferry", "--target-dir"])
        .arg(previous.build())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "{} does not build: {status}", previous.revision);
    Ok(())
}

/// Writes the files of the revision beside those of this one; its own `target` and worktrees stay untouched.
fn unpack(root: &Path, previous: &Previous) -> Result<()> {
    let source = previous.source();
    fs::create_dir_all(&source).with_context(|| source.display().to_string())?;
    let known = Command::new("git")
        .current_dir(root)
        .args(["cat-file", "-e", &format!("{}^{{commit}}", previous.revision)])
        .stderr(Stdio::null())
        .status()
        .context("git")?;
    ensure!(
        known.success(),
        "this clone does not have {}, the release in packaging/previous-version: a shallow clone becomes whole with \
         `git fetch --unshallow --tags`",
        previous.revision
    );
    let mut archive = Command::new("git")
        .current_dir(root)
        .args(["archive", previous.revision])
        .stdout(Stdio::piped())
        .spawn()
        .context("git")?;
    let files = archive.stdout.take().context("git archive has no output")?;
    let unpacked = Command::new("tar").arg("-xC").arg(&source).stdin(files).status().context("tar")?;
    let archived = archive.wait()?;
    ensure!(archived.success() && unpacked.success(), "git archive: {archived}, tar: {unpacked}");
    Ok(())
}
