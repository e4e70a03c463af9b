//! What QEMU tells by itself about a running guest, typed. An event that is not here, or that has another form, is none
//! of these and still an event: [`crate::qmp::Event`] holds it as it came. Main type: [`GuestEvent`].

use serde::Deserialize;
use serde_json::json;

use crate::open_enum::open_enum;
use crate::qmp::Event;

/// One of QEMU's events (qapi `run-state.json`, `block-core.json`, `qdev.json`, `machine.json`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    tag = "event",
    content = "data",
    rename_all = "SCREAMING_SNAKE_CASE",
    rename_all_fields = "kebab-case"
)]
pub enum GuestEvent {
    /// The guest's CPUs stopped.
    Stop,
    /// They go on.
    Resume,
    /// The guest sleeps (ACPI S3).
    Suspend,
    /// It woke up.
    Wakeup,
    /// The ACPI power button was pressed.
    Powerdown,
    /// QEMU ends, unless it was told to pause then (`-action shutdown=pause`).
    Shutdown {
        /// Why.
        reason: ShutdownCause,
    },
    /// The machine was reset.
    Reset {
        /// Why.
        reason: ShutdownCause,
    },
    /// The guest's kernel panicked.
    GuestPanicked {},
    /// The guest's kernel panicked, and its crash kernel took over.
    GuestCrashloaded {},
    /// The watchdog fired.
    Watchdog {
        /// QAPI `WatchdogAction`: what QEMU does about it.
        action: String,
    },
    /// A disk failed to read or write.
    BlockIoError {
        /// Block node, as [`crate::command_line::node_name`] has it.
        node_name: Option<String>,
        /// QAPI `IoOperationType`: `read` or `write`.
        operation: String,
        /// QAPI `BlockErrorAction`: `ignore`, `report` to the guest, or `stop` the guest.
        action: String,
        /// Whether the file system of the image is full.
        #[serde(default)]
        nospace: bool,
        /// The kernel's words.
        reason: String,
    },
    /// A device is gone for good: the guest has let go of it.
    DeviceDeleted {
        /// Its id, where it had one.
        device: Option<String>,
    },
    /// The guest refused to let go of a device.
    DeviceUnplugGuestError {
        /// Its id, where it had one.
        device: Option<String>,
    },
    /// The tray of a drive was opened or closed, by the guest or from here.
    DeviceTrayMoved {
        /// The drive's id.
        id: String,
        /// Whether it is open now.
        tray_open: bool,
    },
    /// The balloon has another size.
    BalloonChange {
        /// What the guest has now, in bytes.
        actual: u64,
    },
}

impl GuestEvent {
    /// The typed form of an event, if it has one.
    pub fn of(event: &Event) -> Option<Self> {
        serde_json::from_value(json!({ "event": event.name, "data": event.data })).ok()
    }
}

open_enum! {
    /// QAPI `ShutdownCause`.
    pub enum ShutdownCause {
        /// No reason is known.
        None = "none",
        /// An error in QEMU or on the host.
        HostError = "host-error",
        /// The QMP command `quit`.
        HostQmpQuit = "host-qmp-quit",
        /// The QMP command `system_reset`.
        HostQmpSystemReset = "host-qmp-system-reset",
        /// A signal to QEMU.
        HostSignal = "host-signal",
        /// Somebody closed QEMU's window.
        HostUi = "host-ui",
        /// The guest powered itself off.
        GuestShutdown = "guest-shutdown",
        /// The guest restarted itself.
        GuestReset = "guest-reset",
        /// The guest's kernel panicked.
        GuestPanic = "guest-panic",
        /// A part of the machine was reset.
        SubsystemReset = "subsystem-reset",
        /// A snapshot is loaded.
        SnapshotLoad = "snapshot-load",
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::{Value, json};

    use super::{Event, GuestEvent, ShutdownCause};

    #[track_caller]
    fn check(name: &str, data: Value, expect: Option<GuestEvent>) {
        let event = Event { name: name.into(), data, timestamp: SystemTime::UNIX_EPOCH };
        assert_eq!(GuestEvent::of(&event), expect);
    }

    #[test]
    fn events_are_typed_where_they_are_known() {
        check("STOP", Value::Null, Some(GuestEvent::Stop));
        let reason = ShutdownCause::GuestShutdown;
        check(
            "SHUTDOWN",
            json!({"guest": true, "reason": "guest-shutdown"}),
            Some(GuestEvent::Shutdown { reason }),
        );
        let reason = ShutdownCause::Other("whim".into());
        check(
            "RESET",
            json!({"guest": false, "reason": "whim", "new": 1}),
            Some(GuestEvent::Reset { reason }),
        );
        check("GUEST_PANICKED", json!({"action": "pause"}), Some(GuestEvent::GuestPanicked {}));
        check("GUEST_CRASHLOADED", json!({"action": "run"}), Some(GuestEvent::GuestCrashloaded {}));
        let full = json!({
            "device": "", "node-name": "disk-vda", "qom-path": "/machine/peripheral/disk-vda", "operation": "write",
            "action": "stop", "nospace": true, "reason": "No space left on device",
        });
        let expect = GuestEvent::BlockIoError {
            node_name: Some("disk-vda".into()),
            operation: "write".into(),
            action: "stop".into(),
            nospace: true,
            reason: "No space left on device".into(),
        };
        check("BLOCK_IO_ERROR", full, Some(expect));
        let tray = json!({"device": "", "id": "disk-sda", "tray-open": true});
        let expect = GuestEvent::DeviceTrayMoved { id: "disk-sda".into(), tray_open: true };
        check("DEVICE_TRAY_MOVED", tray, Some(expect));
        check(
            "DEVICE_DELETED",
            json!({"path": "/machine/x"}),
            Some(GuestEvent::DeviceDeleted { device: None }),
        );
        check("BALLOON_CHANGE", json!({"actual": 7}), Some(GuestEvent::BalloonChange { actual: 7 }));
        check("WATCHDOG", json!({"action": "reset"}), Some(GuestEvent::Watchdog { action: "reset".into() }));
    }

    #[test]
    fn the_rest_is_none_of_them_and_no_error() {
        check("NEVER_HEARD_OF", json!({"x": 1}), None);
        check("SHUTDOWN", json!({"reason": 5}), None);
        check("SHUTDOWN", Value::Null, None);
    }
}
