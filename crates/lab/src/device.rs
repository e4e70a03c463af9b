//! A block device of a test: a loop device on a file, with a node of its own where disks lie. Main type: [`Device`].

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A block device. Dropped, it is gone.
#[derive(Debug)]
pub struct Device {
    looped: String,
    node: PathBuf,
}

impl Device {
    /// Makes a device of a file that is there, known as `node`.
    ///
    /// # Errors
    /// When losetup or cp refuse.
    pub fn begin(file: &Path, node: &Path) -> Result<Device> {
        let looped = said(Command::new("losetup").args(["--find", "--show"]).arg(file))?;
        let device = Device { looped, node: node.to_owned() };
        said(Command::new("cp").args(["-a", &device.looped]).arg(node))?;
        Ok(device)
    }

    /// Its path.
    #[must_use]
    pub fn node(&self) -> &Path {
        &self.node
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.node);
        _ = Command::new("losetup").args(["-d", &self.looped]).status();
    }
}

/// What a program says that succeeds.
///
/// # Errors
/// When it fails, with what it said.
pub fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
