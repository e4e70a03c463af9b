//! What QEMU tells by itself while the domain is active: it is passed on as news, and what the definition wants done
//! about it is done. An event that Ferry has no word for is passed on all the same. Main type: [`Ears`].

use api::{DomainEvent, EventKind};
use domain::Action;
use qemu::command::{Cont, Drive, QueryBlock, QueryStatus, RunState, SystemReset};
use qemu::event::{GuestEvent, ShutdownCause};
use qemu::process::{Exit, Process};
use qemu::qmp::{Event, Qmp};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::{Keeper, State};
use crate::limits::{LAST_WORDS_TIMEOUT, SHOW_TIMEOUT};
use crate::news;
use crate::tracker::rfc3339;

/// Hears what a QEMU tells.
pub(super) struct Ears {
    events: broadcast::Receiver<Event>,
    /// Why QEMU ends, once it has said so.
    cause: Option<ShutdownCause>,
}

impl Ears {
    pub(super) fn of(process: &Process) -> Ears {
        Ears { events: process.qmp.events(), cause: None }
    }

    /// The next event; never, once the connection is closed: then the process itself is waited for.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.events.recv().await {
                Ok(event) => return event,
                Err(RecvError::Lagged(count)) => tracing::warn!("{count} of QEMU's events were not heard"),
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

impl Keeper {
    /// Something happened to it, as far as this host's agent did it or saw it.
    pub(super) fn tell(&self, event: EventKind, detail: impl Into<Option<String>>) {
        self.node.news.tell(news::event(&self.name, self.uuid, event, detail.into()));
    }

    /// QEMU has told something.
    pub(super) async fn told(&mut self, event: Event) {
        let State::Active { guest, ears, .. } = &mut self.state else { return };
        let typed = GuestEvent::of(&event);
        match &typed {
            Some(GuestEvent::Shutdown { reason }) => ears.cause = Some(reason.clone()),
            // It was told to stay, and goes on.
            Some(GuestEvent::Reset { .. } | GuestEvent::Resume) => ears.cause = None,
            Some(_) | None => {}
        }
        let revive = typed == Some(GuestEvent::GuestPanicked {})
            && guest.definition.domain().on_crash == Action::Restart;
        if let Some(GuestEvent::DeviceDeleted { device: Some(id) }) = &typed {
            return self.device_went(id, true).await;
        }
        if let Some(GuestEvent::DeviceUnplugGuestError { device: Some(id) }) = &typed {
            return self.device_went(id, false).await;
        }
        if let Some((kind, detail)) = words(&event, typed) {
            let at = rfc3339(event.timestamp);
            let data = (!event.data.is_null()).then_some(event.data);
            self.node.news.tell(DomainEvent { at, data, ..news::event(&self.name, self.uuid, kind, detail) });
        }
        if revive {
            self.revive().await;
        }
    }

    /// Looks at a guest that was running before anybody listened here: its panic may have been told to nobody, and so
    /// may what it has let go of.
    pub(super) async fn catch_up(&mut self) {
        let State::Active { guest, .. } = &self.state else { return };
        let status = guest.process.qmp.execute_within(QueryStatus, SHOW_TIMEOUT).await;
        let panicked = status.is_ok_and(|status| status.status == RunState::GuestPanicked);
        if panicked && guest.definition.domain().on_crash == Action::Restart {
            self.revive().await;
        }
        self.find_devices().await;
    }

    /// `on_crash` is `restart`: QEMU has stopped the guest, and nobody but us starts it again.
    async fn revive(&self) {
        let State::Active { guest, .. } = &self.state else { return };
        let qmp = &guest.process.qmp;
        let revived = match qmp.execute(SystemReset).await {
            Ok(_) => qmp.execute(Cont).await,
            Err(error) => Err(error),
        };
        match revived {
            Ok(_) => tracing::info!(domain = self.name, "its kernel panicked, and it was started again"),
            Err(error) => {
                tracing::error!(domain = self.name, "it was not started again after a panic: {error}")
            }
        }
    }

    /// Why its QEMU has ended, in words, after hearing what it still had to tell.
    pub(super) async fn last_words(&mut self, exit: Exit) -> (EventKind, String) {
        if let State::Active { guest, .. } = &self.state
            && timeout(LAST_WORDS_TIMEOUT, guest.process.qmp.closed()).await.is_err()
        {
            tracing::debug!(domain = self.name, "QEMU is gone and its monitor stays open");
        }
        while let State::Active { ears, .. } = &mut self.state
            && let Ok(event) = ears.events.try_recv()
        {
            self.told(event).await;
        }
        let State::Active { ears, .. } = &self.state else { return (EventKind::Stopped, exit.to_string()) };
        // Whatever it was about to do: one that ended with an error did not get to its end. How one ended that this agent
        // did not start is not known.
        if exit.status.map_or(ears.cause.is_none(), |status| !status.success()) {
            return (EventKind::Crashed, format!("QEMU ended ({exit}); its log may say why"));
        }
        let reason = match &ears.cause {
            None => "QEMU ended by itself",
            Some(ShutdownCause::GuestShutdown) => "the guest powered itself off",
            Some(ShutdownCause::GuestReset) => "the guest restarted itself, and its on_reboot is destroy",
            Some(ShutdownCause::GuestPanic) => "the guest's kernel panicked, and its on_crash is destroy",
            Some(ShutdownCause::HostSignal) => "QEMU was ended by a signal",
            Some(ShutdownCause::HostQmpQuit) => "QEMU was told to quit",
            Some(cause) => return (EventKind::Stopped, format!("QEMU ended: {cause}")),
        };
        (EventKind::Stopped, reason.to_owned())
    }
}

/// An event as news: what it is, and more about it. None for what shows in another way.
fn words(event: &Event, typed: Option<GuestEvent>) -> Option<(EventKind, Option<String>)> {
    let Some(typed) = typed else { return Some((EventKind::Other, Some(event.name.clone()))) };
    let said = |kind| Some((kind, None));
    let say = |kind, detail: String| Some((kind, Some(detail)));
    match typed {
        // Its end is told when it has come, with this as its reason.
        GuestEvent::Shutdown { reason: _ } => None,
        // What belongs to a device, and devices that Ferry did not name.
        GuestEvent::DeviceDeleted { .. } | GuestEvent::DeviceUnplugGuestError { .. } => None,
        GuestEvent::Stop => said(EventKind::Suspended),
        GuestEvent::Resume => said(EventKind::Resumed),
        GuestEvent::Suspend => said(EventKind::Asleep),
        GuestEvent::Wakeup => said(EventKind::Awake),
        GuestEvent::Powerdown => said(EventKind::PowerButton),
        GuestEvent::Reset { reason: ShutdownCause::GuestReset } => said(EventKind::Rebooted),
        GuestEvent::Reset { reason } => say(EventKind::Reset, reason.to_string()),
        GuestEvent::GuestPanicked {} => said(EventKind::Panicked),
        GuestEvent::GuestCrashloaded {} => say(EventKind::Panicked, "its crash kernel took over".to_owned()),
        GuestEvent::Watchdog { action } => say(EventKind::Watchdog, format!("action {action}")),
        GuestEvent::BlockIoError { node_name, operation, action, nospace, reason } => {
            let disk = node_name.as_deref().unwrap_or("a disk");
            let full = if nospace { ", its storage is full" } else { "" };
            say(EventKind::IoError, format!("{disk}: {operation}: {reason}{full} (action {action})"))
        }
        GuestEvent::DeviceTrayMoved { id, tray_open } => {
            say(EventKind::TrayMoved, format!("{id} {}", if tray_open { "opened" } else { "closed" }))
        }
        GuestEvent::BalloonChange { actual } => say(EventKind::Balloon, format!("{} MiB", actual >> 20)),
    }
}

/// Why a guest stands still that nobody has suspended.
pub(super) async fn standstill(qmp: &Qmp, state: &RunState) -> String {
    let because = match state {
        RunState::IoError => {
            let drives = qmp.execute_within(QueryBlock, SHOW_TIMEOUT).await.unwrap_or_default();
            return format!("{}; mend it, and `ferry resume` lets the guest go on", failed_disks(&drives));
        }
        RunState::GuestPanicked => "the guest's kernel panicked",
        RunState::Watchdog => "its watchdog fired",
        RunState::InternalError => "QEMU could not go on with it; its log says more",
        RunState::Shutdown => "the guest has powered itself off",
        other => return format!("QEMU says {}", other.as_str()),
    };
    because.to_owned()
}

/// The drives that failed.
fn failed_disks(drives: &[Drive]) -> String {
    let failed = drives.iter().filter_map(|drive| {
        let why = match drive.io_status.as_deref()? {
            "ok" => return None,
            "nospace" => "its storage is full",
            _ => "reading or writing failed",
        };
        // A device is named by its id, or by a path through the machine that holds it.
        let device = drive.qdev.as_deref().unwrap_or_default();
        let target = device.split('/').find_map(|part| part.strip_prefix("disk-"));
        Some(format!("disk {}: {why}", target.unwrap_or(device)))
    });
    let failed: Vec<String> = failed.collect();
    if failed.is_empty() { "a disk failed".to_owned() } else { failed.join(", ") }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use api::EventKind;
    use qemu::command::Drive;
    use qemu::event::GuestEvent;
    use qemu::qmp::Event;
    use serde_json::{Value, json};

    use super::{failed_disks, words};

    #[track_caller]
    fn check(name: &str, data: Value, expect: Option<(EventKind, Option<&str>)>) {
        let event = Event { name: name.into(), data, timestamp: SystemTime::UNIX_EPOCH };
        let said = words(&event, GuestEvent::of(&event));
        let expect = expect.map(|(kind, detail)| (kind, detail.map(str::to_owned)));
        assert_eq!(said, expect);
    }

    #[test]
    fn events_in_words() {
        check("STOP", Value::Null, Some((EventKind::Suspended, None)));
        check("SHUTDOWN", json!({"guest": true, "reason": "guest-shutdown"}), None);
        check("RESET", json!({"guest": true, "reason": "guest-reset"}), Some((EventKind::Rebooted, None)));
        let outside = json!({"guest": false, "reason": "host-qmp-system-reset"});
        check("RESET", outside, Some((EventKind::Reset, Some("host-qmp-system-reset"))));
        let full = json!({"node-name": "disk-vda", "operation": "write", "action": "stop", "nospace": true,
            "reason": "No space left on device"});
        let said = "disk-vda: write: No space left on device, its storage is full (action stop)";
        check("BLOCK_IO_ERROR", full, Some((EventKind::IoError, Some(said))));
        check("DEVICE_DELETED", json!({"path": "/machine/peripheral/x/backend"}), None);
        check("BALLOON_CHANGE", json!({"actual": 268_435_456}), Some((EventKind::Balloon, Some("256 MiB"))));
        check("WARPED", json!({"factor": 9}), Some((EventKind::Other, Some("WARPED"))));
    }

    #[test]
    fn failed_disks_are_named() {
        let drive = |qdev: &str, status: Option<&str>| Drive {
            qdev: Some(qdev.into()),
            removable: false,
            locked: false,
            tray_open: None,
            io_status: status.map(str::to_owned),
            inserted: None,
        };
        let drives = [
            drive("/machine/peripheral/disk-vda/virtio-backend", Some("nospace")),
            drive("disk-sda", Some("ok")),
            drive("disk-sdb", Some("failed")),
            drive("disk-sdc", None),
        ];
        let said = "disk vda: its storage is full, disk sdb: reading or writing failed";
        assert_eq!(failed_disks(&drives), said);
        assert_eq!(failed_disks(&drives[1..2]), "a disk failed");
    }
}
