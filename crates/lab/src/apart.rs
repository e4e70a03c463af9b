//! Two hosts that share no storage: what `kvm2` sees at the path of the shared directory is a directory of its own. Main
//! type: [`Apart`].

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::Lab;
use crate::guest;
use crate::host::{Host, Mount, mount_bounded};
use crate::limits::STORAGE_BYTES;

/// The storage of two hosts that share none.
#[derive(Debug)]
pub struct Apart<'a> {
    /// Where it happens.
    pub lab: &'a Lab,
    /// What `kvm2` has where `kvm1` has the shared directory.
    pub elsewhere: PathBuf,
}

impl<'a> Apart<'a> {
    /// Restarts the agent of `kvm2` so that it sees a directory of its own, from now on. A guest's kernel lies in both.
    ///
    /// # Errors
    /// When the agent does not stop or start.
    pub fn begin(lab: &'a Lab) -> Result<Apart<'a>> {
        let apart = Apart { lab, elsewhere: lab.directory().join("elsewhere") };
        fs::create_dir_all(apart.elsewhere.join("boot"))?;
        for file in ["boot/vmlinuz", "boot/initramfs"] {
            guest::place(&lab.shared.join(file), &apart.elsewhere.join(file))?;
        }
        let kvm2 = lab.kvm2();
        kvm2.stop_agent()?;
        kvm2.always_sees(Mount::Bind { from: apart.elsewhere.clone(), at: lab.shared.clone() });
        kvm2.start_agent()?;
        Ok(apart)
    }

    /// Gives each storage a file system of its own, that can become full. Before anything lies there; the agent of `kvm1` is
    /// restarted, so that it sees it.
    ///
    /// # Errors
    /// When it cannot be mounted, or the agent does not stop or start.
    pub fn bound(lab: &Lab) -> Result<()> {
        mount_bounded(&lab.shared, STORAGE_BYTES)?;
        mount_bounded(&lab.directory().join("elsewhere"), STORAGE_BYTES)?;
        lab.kvm1().stop_agent()?;
        lab.kvm1().start_agent()
    }

    /// A file of the shared directory, where `host` has it.
    ///
    /// # Errors
    /// When it is none of that directory.
    pub fn on(&self, host: &Host, path: &Path) -> Result<PathBuf> {
        if host.name != self.lab.kvm2().name {
            return Ok(path.to_owned());
        }
        let below = path.strip_prefix(&self.lab.shared).with_context(|| path.display().to_string())?;
        Ok(self.elsewhere.join(below))
    }

    /// The same content for a guest, by `qemu-img compare`, in images that are in order, by `qemu-img check`; and room taken
    /// within 5 %.
    ///
    /// # Errors
    /// What does not hold.
    pub fn are_equal(&self, path: &Path, format: &str) -> Result<()> {
        let (one, other) = (self.on(self.lab.kvm1(), path)?, self.on(self.lab.kvm2(), path)?);
        qemu_img(&["compare", "-f", format, "-F", format], &[&one, &other])?;
        if format == "qcow2" {
            qemu_img(&["check", "-q", "-f", format], &[&other])?;
        }
        let taken = |path: &Path| Ok::<_, anyhow::Error>(fs::metadata(path)?.blocks() * 512);
        let (here, there) = (taken(&one)?, taken(&other)?);
        // A file system gives room in steps of its own.
        let slack = here / 20 + (256 << 10);
        ensure!(
            here.abs_diff(there) <= slack,
            "{}: {here} bytes are taken, of the copy {there}",
            path.display()
        );
        Ok(())
    }
}

/// Runs qemu-img.
///
/// # Errors
/// When it fails, with what it said.
pub fn qemu_img(words: &[&str], paths: &[&Path]) -> Result<String> {
    let output = Command::new("qemu-img").args(words).args(paths).output().context("qemu-img")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "qemu-img {words:?} {paths:?}: {said}{complained}");
    Ok(said)
}
