//! What a domain's task tells about the domain. It changes nothing.

use api::{DomainState, Outcome};
use domain::Definition;
use qemu::command::{QueryStatus, RunState};

use super::told::standstill;
use super::{Keeper, State};
use crate::limits::SHOW_TIMEOUT;

impl Keeper {
    /// The definition that describes it best now.
    pub(super) fn described(&self) -> Option<&Definition> {
        match &self.state {
            State::Active { guest, .. } => Some(&guest.definition),
            State::ShutOff { .. } | State::Lent { .. } | State::Leaving { .. } | State::Arriving { .. } => {
                self.definition.as_ref()
            }
        }
    }

    pub(super) fn xml(&self) -> String {
        match &self.state {
            State::Leaving { record, .. } => record.xml.clone(),
            State::Active { guest, .. } => guest.definition.xml().to_owned(),
            State::ShutOff { .. } | State::Lent { .. } | State::Arriving { .. } => {
                self.definition.as_ref().map(|definition| definition.xml().to_owned()).unwrap_or_default()
            }
        }
    }

    pub(super) async fn show(&self) -> api::Domain {
        let parsed = match self.described() {
            Some(_) => None,
            None => Definition::parse(&self.xml()).ok(),
        };
        let domain = self.described().or(parsed.as_ref()).map(Definition::domain);
        let (state, reason) = self.shown_state().await;
        let (record, pid, migration) = match &self.state {
            State::Lent { .. } => (None, None, None),
            State::ShutOff { .. } => (None, None, self.record.moved.as_ref().map(|moved| moved.migration)),
            State::Active { guest, .. } => (Some(&guest.record), Some(guest.process.pid()), None),
            State::Leaving { record, pid, tracker, .. } => (Some(record), *pid, Some(tracker.id())),
            State::Arriving { tracker, .. } => (None, None, Some(tracker.id())),
        };
        let taps = record.map_or(&[][..], |record| &record.taps[..]);
        let disk = |disk: &domain::Disk| api::Disk {
            target: disk.target.clone(),
            source: disk.source.as_ref().map(ToString::to_string).unwrap_or_default(),
            format: disk.format.as_str().to_owned(),
            readonly: disk.readonly,
        };
        let interface = |(index, interface): (usize, &domain::Interface)| api::Interface {
            mac: interface.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            bridge: match &interface.source {
                domain::InterfaceSource::Bridge(bridge) => bridge.clone(),
                source => source.to_string(),
            },
            tap: taps.get(index).filter(|_| interface.source.has_tap()).cloned(),
        };
        api::Domain {
            name: self.name.clone(),
            uuid: self.uuid,
            state,
            reason,
            persistent: self.definition.is_some(),
            autostart: self.record.autostart,
            memory_bytes: domain.map_or(0, |domain| domain.memory.0),
            vcpus: domain.map_or(0, |domain| domain.vcpus_current),
            machine: domain.map(|domain| domain.os.machine.clone()).unwrap_or_default(),
            pid,
            started_at: record.map(|record| record.started_at.clone()),
            migration,
            owner: self.record.moved.as_ref().map(|moved| moved.host.clone()),
            disks: domain.map(|domain| domain.disks.iter().map(disk).collect()).unwrap_or_default(),
            interfaces: domain
                .map(|domain| domain.interfaces.iter().enumerate().map(interface).collect())
                .unwrap_or_default(),
            console: self.console().await,
            log: self.node.store.log_path(&self.name).display().to_string(),
        }
    }

    pub(super) async fn shown_state(&self) -> (DomainState, Option<String>) {
        match &self.state {
            State::ShutOff { reason } => match &self.record.moved {
                Some(moved) => (DomainState::Moved, Some(format!("moved to {} at {}", moved.host, moved.at))),
                None => (DomainState::ShutOff, reason.clone()),
            },
            State::Lent { .. } => (DomainState::ShutOff, Some("its disks are being worked on".to_owned())),
            State::Active { guest, .. } => {
                match guest.process.qmp.execute_within(QueryStatus, SHOW_TIMEOUT).await {
                    Ok(status) if status.running => (DomainState::Running, None),
                    Ok(status) => match status.status {
                        RunState::Paused | RunState::Prelaunch | RunState::Postmigrate => {
                            (DomainState::Suspended, None)
                        }
                        state => (DomainState::Stopped, Some(standstill(&guest.process.qmp, &state).await)),
                    },
                    Err(error) => {
                        let pid = guest.process.pid();
                        let hung = format!("{error} (process {pid}); `ferry destroy` ends it for good");
                        (DomainState::Stopped, Some(hung))
                    }
                }
            }
            State::Leaving { tracker, .. } => match tracker.migration().report.outcome {
                Some(Outcome::InDoubt) => (DomainState::InDoubt, tracker.migration().report.reason),
                Some(Outcome::Moved | Outcome::Kept | Outcome::Lost | Outcome::Copied) | None => {
                    (DomainState::Leaving, None)
                }
            },
            State::Arriving { tracker, .. } => {
                (DomainState::Arriving, Some(format!("from {}", tracker.migration().report.source)))
            }
        }
    }

    /// The pty or socket of the first serial port.
    pub(super) async fn console(&self) -> Option<String> {
        let State::Active { guest, .. } = &self.state else { return None };
        let chardevs =
            guest.process.qmp.execute_within(qemu::command::QueryChardev, SHOW_TIMEOUT).await.ok()?;
        let serial = chardevs.into_iter().find(|chardev| chardev.label == "serial-0")?;
        serial.filename
    }
}
