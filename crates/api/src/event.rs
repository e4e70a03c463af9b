//! What happens to the domains of a host, as its agent tells it. Main type: [`DomainEvent`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Something happened to a domain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DomainEvent {
    /// When, RFC 3339.
    pub at: String,
    /// The domain's name.
    pub domain: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// What.
    pub event: EventKind,
    /// More about it, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The data of QEMU's event, where one of QEMU's is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    pub data: Option<serde_json::Value>,
}

/// Declares the kinds with their names, so that no list of them can be forgotten.
macro_rules! kinds {
    ($($(#[$meta:meta])* $kind:ident = $name:literal,)+) => {
        /// What can happen to a domain.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum EventKind {
            $($(#[$meta])* $kind,)+
            /// Something that this version has no word for; `detail` names it.
            #[serde(other)]
            Other,
        }

        impl EventKind {
            /// Every kind.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$kind,)+ EventKind::Other];

            /// Its name, as in JSON.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$kind => $name,)+
                    EventKind::Other => "other",
                }
            }
        }
    };
}

kinds! {
    /// A definition was stored.
    Defined = "defined",
    /// A definition was forgotten.
    Undefined = "undefined",
    /// A QEMU was started for it.
    Started = "started",
    /// Its QEMU ended as it was meant to.
    Stopped = "stopped",
    /// Its QEMU ended and nobody knows of a reason.
    Crashed = "crashed",
    /// Its processors stopped.
    Suspended = "suspended",
    /// Its processors go on.
    Resumed = "resumed",
    /// The guest went to sleep (ACPI S3).
    Asleep = "asleep",
    /// The guest woke up.
    Awake = "awake",
    /// Its ACPI power button was pressed.
    PowerButton = "power-button",
    /// It was reset from outside.
    Reset = "reset",
    /// The guest restarted itself.
    Rebooted = "rebooted",
    /// The guest's kernel panicked.
    Panicked = "panicked",
    /// Its watchdog fired.
    Watchdog = "watchdog",
    /// A disk failed.
    IoError = "io-error",
    /// A migration to another host began.
    Leaving = "leaving",
    /// It is on another host now.
    Moved = "moved",
    /// A migration ended and it stayed here.
    Kept = "kept",
    /// A migration ended and nobody has its memory any more.
    Lost = "lost",
    /// A migration from another host began.
    Arriving = "arriving",
    /// It came here from another host.
    Arrived = "arrived",
    /// A device was attached while it ran.
    DeviceAttached = "device-attached",
    /// A device was detached while it ran.
    DeviceDetached = "device-detached",
    /// The guest did not let go of a device.
    DeviceKept = "device-kept",
    /// A drive has another medium, or none.
    MediaChanged = "media-changed",
    /// A drive's tray was opened or closed.
    TrayMoved = "tray-moved",
    /// Its balloon has another size.
    Balloon = "balloon",
    /// Events were not told, because whoever asked for them was too slow.
    Missed = "missed",
}

#[cfg(test)]
mod tests {
    use super::EventKind;

    #[test]
    fn names_are_those_of_json() {
        for kind in EventKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("JSON"), kind.as_str());
            let read: EventKind = serde_json::from_value(kind.as_str().into()).expect("reads");
            assert_eq!(read, *kind);
        }
        let newer: EventKind = serde_json::from_value("levitated".into()).expect("reads");
        assert_eq!(newer, EventKind::Other);
    }
}
