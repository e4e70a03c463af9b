//! KVM or TCG, and whether KVM really works here.
//!
//! That `/dev/kvm` opens proves nothing: on a machine without hardware virtualization it may be there and yet fail
//! on the instructions of an ordinary kernel. So [`probe_kvm`] runs a guest. It never chooses an accelerator. The
//! main type is [`Accelerator`].

mod guest;

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use crate::capabilities::{Probe, ProbeError};
use crate::command::{Cont, QueryStatus, RunState};
use crate::command_line::{CommandLine, Plain};
use crate::limits;
use crate::migrate::{Events, What};
use crate::process::Exit;
use crate::qmp::QmpError;

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accelerator {
    /// The processor itself, through Linux's KVM.
    Kvm,
    /// QEMU's translation; works everywhere, slowly.
    Tcg,
}

impl Accelerator {
    /// QEMU's name for `accel=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl From<domain::Kind> for Accelerator {
    fn from(kind: domain::Kind) -> Self {
        match kind {
            domain::Kind::Kvm => Self::Kvm,
            domain::Kind::Qemu => Self::Tcg,
        }
    }
}

/// Why KVM cannot run guests on this host.
#[derive(Debug, thiserror::Error)]
pub enum KvmUnusable {
    /// No access to KVM at all.
    #[error(
        "/dev/kvm cannot be opened: enable virtualization in the firmware, load the kvm module, or use type='qemu'"
    )]
    Device(#[source] io::Error),
    /// The probe's files could not be written.
    #[error("could not write the test guest {}", path.display())]
    Image {
        /// Where.
        path: PathBuf,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// QEMU does not start with KVM.
    #[error("QEMU does not start with KVM")]
    Start(#[source] ProbeError),
    /// KVM gave up on the test guest.
    #[error(
        "KVM cannot run a small 64-bit guest ({}): this host has no working hardware virtualization",
        shown(reason)
    )]
    GuestStopped {
        /// What QEMU wrote about it.
        reason: String,
    },
    /// The test guest ran wrongly.
    #[error("a small 64-bit guest under KVM computed a wrong result ({exit})")]
    WrongResult {
        /// How QEMU ended.
        exit: Exit,
    },
    /// The test guest did not finish.
    #[error("a small 64-bit guest under KVM did not finish within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: std::time::Duration,
    },
    /// QEMU stopped answering.
    #[error("QEMU with KVM stopped answering")]
    Qmp(#[source] QmpError),
}

/// QEMU's own words, from where they speak of KVM.
fn shown(reason: &str) -> String {
    let lines: Vec<_> = reason.lines().collect();
    let about = |line: &&&str| line.contains("KVM internal error") || line.contains("emulation failure");
    let found: Vec<_> = lines.iter().filter(about).map(|line| line.trim()).collect();
    if found.is_empty() {
        lines.last().unwrap_or(&"no reason given").trim().to_owned()
    } else {
        found.join(", ")
    }
}

/// Finds out whether KVM really runs guests here, by running one: it enters 64-bit mode with paging, and computes in
/// kernel mode with instructions that a present kernel's own code has (a VEX-coded one where the CPU has BMI2), which
/// a KVM that has to interpret its guest does not know. Bounded by [`limits::KVM_PROBE_TIMEOUT`].
pub async fn probe_kvm(emulator: &Path) -> Result<(), KvmUnusable> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").map_err(KvmUnusable::Device)?;
    // Without `arch-capabilities`: its register is the first that a half-working KVM refuses, and QEMU aborts on
    // that, which tells less than the guest does.
    run_guest(emulator, Accelerator::Kvm, "host,arch-capabilities=off").await
}

async fn run_guest(emulator: &Path, accelerator: Accelerator, cpu: &str) -> Result<(), KvmUnusable> {
    let directory = tempfile::Builder::new()
        .prefix("ferry-guest-")
        .tempdir()
        .map_err(|source| KvmUnusable::Start(ProbeError::Directory(source)))?;
    let path = directory.path().join("guest.rom");
    std::fs::write(&path, guest::rom())
        .map_err(|source| KvmUnusable::Image { path: path.clone(), source })?;
    let mut line = CommandLine::probe("q35", accelerator, Some(cpu));
    line.push(&Plain("-m", "size=16M"));
    line.push(&Plain("-bios", &path.to_string_lossy()));
    line.push(&Plain("-device", &format!("isa-debug-exit,iobase={:#x},iosize=4", guest::EXIT_PORT)));
    let probe = Probe::start(emulator, &line).await.map_err(KvmUnusable::Start)?;
    let after = limits::KVM_PROBE_TIMEOUT;
    let ran = tokio::time::timeout(after, watch_guest(&probe)).await;
    probe.end().await;
    ran.unwrap_or(Err(KvmUnusable::TimedOut { after }))
}

async fn watch_guest(probe: &Probe) -> Result<(), KvmUnusable> {
    let mut events = Events::of(probe.qmp());
    match probe.qmp().execute(Cont).await {
        // The guest may be done before the reply is out.
        Ok(_) | Err(QmpError::Gone) => {}
        Err(error) => return Err(KvmUnusable::Qmp(error)),
    }
    let stopped = async {
        // QEMU stops the guest with STOP when KVM gives up, and says why in its log only.
        let seen = events.find(|happened| matches!(happened.what, What::Stopped).then_some(())).await;
        if seen.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        exit = probe.process.exited() => match exit.status.and_then(|status| status.code()) {
            Some(code) if code == guest::EXIT_STATUS_RIGHT => Ok(()),
            _ => Err(KvmUnusable::WrongResult { exit }),
        },
        () = stopped => match probe.qmp().execute(QueryStatus).await {
            Ok(status) if status.status == RunState::InternalError => {
                Err(KvmUnusable::GuestStopped { reason: probe.log() })
            }
            // The machine also stops on its way to the exit that the guest asked for.
            Ok(_) | Err(QmpError::Gone) => {
                let exit = probe.process.exited().await;
                match exit.status.and_then(|status| status.code()) {
                    Some(code) if code == guest::EXIT_STATUS_RIGHT => Ok(()),
                    _ => Err(KvmUnusable::WrongResult { exit }),
                }
            }
            Err(error) => Err(KvmUnusable::Qmp(error)),
        },
    }
}

#[cfg(test)]
mod tests;
