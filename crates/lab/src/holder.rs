//! Somebody else who has an image open for writing, as a QEMU that nobody knows of has. Main type: [`Holder`].

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Holds an image until [`Holder::end`].
#[derive(Debug)]
pub struct Holder(Child);

impl Holder {
    /// Opens a qcow2 image, and has it when this returns.
    ///
    /// # Errors
    /// When qemu-io cannot be started, or cannot open it.
    pub fn begin(image: &Path) -> Result<Holder> {
        let mut command = Command::new("qemu-io");
        command.args(["-f", "qcow2"]).arg(image).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = Holder(command.spawn().context("qemu-io")?);
        // Its prompt comes when the image is open.
        holder.0.stdout.as_mut().context("a pipe")?.read_exact(&mut [0])?;
        Ok(holder)
    }

    /// Lets it go.
    ///
    /// # Errors
    /// When it had failed meanwhile.
    pub fn end(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait()?.success(), "qemu-io failed");
        Ok(())
    }
}
