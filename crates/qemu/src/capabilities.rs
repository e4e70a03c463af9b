//! What a QEMU can do, asked from itself: commands and arguments, migration capabilities, machines, devices, CPUs.
//!
//! A short-lived QEMU with no machine is started and asked over QMP. Nothing is ever concluded from a version
//! number: distributions backport. It decides nothing. The main type is [`Capabilities`].

pub mod cpu;
pub mod schema;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use tempfile::TempDir;

pub use self::schema::{Schema, SchemaError};
use crate::accelerator::Accelerator;
use crate::command::{
    CpuDefinition, Machine, MigrationCapability, QomListTypes, QueryCpuDefinitions, QueryMachines,
    QueryMigrateCapabilities, QueryQmpSchema, QueryVersion, Quit,
};
use crate::command_line::CommandLine;
use crate::limits;
use crate::process::{Process, SpawnError};
use crate::qmp::{Qmp, QmpError};

/// Why a QEMU could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No directory for its socket and log.
    #[error("could not make a directory for a probe of QEMU")]
    Directory(#[source] io::Error),
    /// It did not start: wrong emulator, accelerator, machine or CPU.
    #[error("a probe of the emulator did not start")]
    Start(#[source] SpawnError),
    /// It did not answer.
    #[error("a probe of the emulator did not answer")]
    Ask(#[source] QmpError),
    /// Its schema is in an unknown form.
    #[error("the emulator's own description of its commands is not readable")]
    Schema(#[source] SchemaError),
    /// It has no CPU model that `host-model` could be expanded to.
    #[error("the emulator has no CPU model of vendor {vendor} that can be migrated; use a custom model")]
    NoCpuModel {
        /// Vendor of the host's CPU.
        vendor: String,
    },
}

/// What one emulator can do with one accelerator.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// For people only.
    pub version: String,
    /// Its package version, for people only; may be empty.
    pub package: String,
    /// With which accelerator it was asked.
    pub accelerator: Accelerator,
    /// Every machine type.
    pub machines: Vec<Machine>,
    /// Every CPU model, with what this host lacks for it.
    pub cpus: Vec<CpuDefinition>,
    /// Commands, events, arguments.
    pub schema: Schema,
    migrate_capabilities: BTreeSet<String>,
    devices: BTreeSet<String>,
    chardevs: BTreeSet<String>,
}

impl Capabilities {
    /// Whether live migration knows a capability.
    pub fn has_migrate_capability(&self, capability: &MigrationCapability) -> bool {
        self.migrate_capabilities.contains(capability.as_str())
    }

    /// Names of the migration capabilities, in order.
    pub fn migrate_capability_names(&self) -> impl Iterator<Item = &str> {
        self.migrate_capabilities.iter().map(String::as_str)
    }

    /// Whether there is a QMP command.
    pub fn has_command(&self, command: &str) -> bool {
        self.schema.has_command(command)
    }

    /// Whether a QMP command takes an argument.
    pub fn has_parameter(&self, command: &str, argument: &str) -> bool {
        self.schema.has_argument(command, argument)
    }

    /// Whether there is a device type for `-device`.
    pub fn has_device(&self, name: &str) -> bool {
        self.devices.contains(name)
    }

    /// Whether there is a kind of `-chardev`; `spicevmc` is there where SPICE is.
    pub fn has_chardev(&self, name: &str) -> bool {
        self.chardevs.contains(&format!("chardev-{name}"))
    }

    /// A machine by name or alias.
    pub fn machine(&self, name: &str) -> Option<&Machine> {
        let by_name = self.machines.iter().find(|machine| machine.name == name);
        by_name.or_else(|| self.machines.iter().find(|machine| machine.alias.as_deref() == Some(name)))
    }

    /// The versioned name of a machine: `q35` gives `pc-q35-10.0`, a versioned name gives itself; `None` where this
    /// QEMU has no such machine.
    pub fn resolve_machine(&self, name: &str) -> Option<&str> {
        self.machine(name).map(|machine| machine.name.as_str())
    }
}

/// Asks an emulator what it can do. Takes a fraction of a second and leaves nothing behind.
pub async fn probe(emulator: &Path, accelerator: Accelerator) -> Result<Capabilities, ProbeError> {
    let probe = Probe::start(emulator, &CommandLine::probe("none", accelerator, None)).await?;
    let asked = ask(probe.qmp(), accelerator).await;
    probe.end().await;
    asked
}

async fn ask(qmp: &Qmp, accelerator: Accelerator) -> Result<Capabilities, ProbeError> {
    let version = qmp.execute(QueryVersion).await.map_err(ProbeError::Ask)?;
    let schema = qmp.execute(QueryQmpSchema).await.map_err(ProbeError::Ask)?;
    let migrate = qmp.execute(QueryMigrateCapabilities).await.map_err(ProbeError::Ask)?;
    let machines = qmp.execute(QueryMachines).await.map_err(ProbeError::Ask)?;
    let cpus = qmp.execute(QueryCpuDefinitions).await.map_err(ProbeError::Ask)?;
    let devices =
        qmp.execute(QomListTypes { implements: Some("device".into()) }).await.map_err(ProbeError::Ask)?;
    let chardevs =
        qmp.execute(QomListTypes { implements: Some("chardev".into()) }).await.map_err(ProbeError::Ask)?;
    Ok(Capabilities {
        version: version.to_string(),
        package: version.package,
        accelerator,
        machines,
        cpus,
        schema: Schema::read(schema).map_err(ProbeError::Schema)?,
        migrate_capabilities: migrate.into_iter().map(|entry| entry.capability.to_string()).collect(),
        devices: devices.into_iter().map(|device| device.name).collect(),
        chardevs: chardevs.into_iter().map(|chardev| chardev.name).collect(),
    })
}

/// A QEMU that is started to be asked, with a directory of its own. Killed when dropped, and when the agent ends.
pub(crate) struct Probe {
    pub(crate) process: Process,
    directory: TempDir,
}

impl Probe {
    pub(crate) async fn start(emulator: &Path, line: &CommandLine) -> Result<Self, ProbeError> {
        let directory =
            tempfile::Builder::new().prefix("ferry-probe-").tempdir().map_err(ProbeError::Directory)?;
        let log = directory.path().join(LOG);
        let process =
            Process::spawn_probe(emulator, line, directory.path(), &log).await.map_err(ProbeError::Start)?;
        Ok(Self { process, directory })
    }

    pub(crate) fn qmp(&self) -> &Qmp {
        &self.process.qmp
    }

    /// What it wrote so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read(self.directory.path().join(LOG))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Lets it quit, or kills it, and waits until it is gone.
    pub(crate) async fn end(self) {
        // It may close the socket before the reply is out, or be gone already: what counts is that it ends.
        let quit = async {
            let _ = self.process.qmp.execute(Quit).await;
            self.process.exited().await
        };
        if tokio::time::timeout(limits::PROBE_QUIT_TIMEOUT, quit).await.is_err() {
            self.process.kill();
            if tokio::time::timeout(limits::KILL_TIMEOUT, self.process.exited()).await.is_err() {
                tracing::error!(pid = self.process.pid(), "a probe of QEMU does not end");
            }
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// Name of a probe's log in its directory.
const LOG: &str = "qemu.log";

#[cfg(test)]
mod tests;
