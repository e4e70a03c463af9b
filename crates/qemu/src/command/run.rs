//! Commands about a running QEMU: its state, starting and stopping the guest, file descriptors, objects, yank.

use std::collections::BTreeMap;

use domain::Action;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Done, command};
use crate::open_enum::open_enum;

open_enum! {
    /// QAPI `RunState`: what the guest does.
    pub enum RunState {
        /// The guest runs.
        Running = "running",
        /// Stopped by `stop`, or a loaded incoming guest that was never continued (`-S`).
        Paused = "paused",
        /// Started with `-S`, the guest never ran.
        Prelaunch = "prelaunch",
        /// Waits for an incoming migration. `cont` succeeds here and starts the guest after the load: never send it.
        Inmigrate = "inmigrate",
        /// Stopped to finish a migration.
        FinishMigrate = "finish-migrate",
        /// A migration has completed; the memory was sent.
        Postmigrate = "postmigrate",
        /// Stopped after an internal error, such as KVM's emulation failure.
        InternalError = "internal-error",
        /// Stopped by a disk error.
        IoError = "io-error",
        /// Stopped by the debugger.
        Debug = "debug",
        /// A snapshot is restored.
        RestoreVm = "restore-vm",
        /// A snapshot is saved.
        SaveVm = "save-vm",
        /// The guest has shut down and QEMU was told to stay.
        Shutdown = "shutdown",
        /// The guest sleeps (ACPI S3).
        Suspended = "suspended",
        /// The watchdog stopped the guest.
        Watchdog = "watchdog",
        /// The guest's kernel panicked.
        GuestPanicked = "guest-panicked",
        /// Colo replication.
        Colo = "colo",
    }
}

/// QAPI `StatusInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// Whether the guest's CPUs run.
    pub running: bool,
    /// The state.
    pub status: RunState,
}

/// QAPI `query-status`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryStatus;
command!(QueryStatus, "query-status", Status);

/// QAPI `cont`: the guest runs on. Never send it to a QEMU in [`RunState::Inmigrate`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cont;
command!(Cont, "cont", Done);

/// QAPI `stop`: the guest's CPUs stop.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Stop;
command!(Stop, "stop", Done);

/// QAPI `system_powerdown`: presses the ACPI power button.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SystemPowerdown;
command!(SystemPowerdown, "system_powerdown", Done);

/// QAPI `system_reset`: presses the reset button.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SystemReset;
command!(SystemReset, "system_reset", Done);

/// QAPI `set-action`: what QEMU does when the guest powers itself off, until it is told otherwise.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SetAction {
    /// QAPI `ShutdownAction`.
    pub shutdown: &'static str,
}
command!(SetAction, "set-action", Done);

impl SetAction {
    /// The guest stays, stopped.
    pub const PAUSE: SetAction = SetAction { shutdown: "pause" };

    /// What `<on_poweroff>` asks for, as `-action` has it.
    pub fn of(poweroff: Action) -> SetAction {
        let shutdown = match poweroff {
            Action::Destroy => "poweroff",
            Action::Restart | Action::Preserve => "pause",
        };
        SetAction { shutdown }
    }
}

/// QAPI `quit`: QEMU ends; the guest is not asked.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Quit;
command!(Quit, "quit", Done);

/// QAPI `query-name`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryName;
command!(QueryName, "query-name", Name);

/// QAPI `NameInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Name {
    /// The guest's name as given by `-name`.
    pub name: Option<String>,
}

/// QAPI `query-uuid`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryUuid;
command!(QueryUuid, "query-uuid", GuestUuid);

/// QAPI `UuidInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct GuestUuid {
    /// All zero where none was given.
    #[serde(rename = "UUID")]
    pub uuid: uuid::Uuid,
}

/// QAPI `query-kvm`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryKvm;
command!(QueryKvm, "query-kvm", Kvm);

/// QAPI `KvmInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Kvm {
    /// Whether this QEMU uses KVM.
    pub enabled: bool,
    /// Whether this QEMU was built with KVM.
    pub present: bool,
}

/// QAPI `getfd`: gives a name to the descriptor that travels with it ([`crate::qmp::Qmp::execute_with_fds`]).
#[derive(Clone, Debug, Serialize)]
pub struct GetFd {
    /// Name for later use as `fd:NAME`.
    pub fdname: String,
}
command!(GetFd, "getfd", Done);

/// QAPI `closefd`.
#[derive(Clone, Debug, Serialize)]
pub struct CloseFd {
    /// The name given to `getfd`.
    pub fdname: String,
}
command!(CloseFd, "closefd", Done);

/// QAPI `object-add` for `tls-creds-x509`: certificates for QEMU's own TLS.
///
/// The directory holds `ca-cert.pem`, and `server-cert.pem`/`server-key.pem` or `client-cert.pem`/`client-key.pem`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "qom-type", rename = "tls-creds-x509")]
pub struct AddTlsCreds {
    /// Object id, used in `tls-creds`.
    pub id: String,
    /// Which side this QEMU is.
    pub endpoint: TlsEndpoint,
    /// Directory of the certificates.
    pub dir: String,
    /// Whether the other side's certificate must be signed by the CA.
    pub verify_peer: bool,
    /// What may be agreed on, as a GnuTLS priority string; `None` is QEMU's own choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}
command!(AddTlsCreds, "object-add", Done);

open_enum! {
    /// QAPI `QCryptoTLSCredsEndpoint`.
    pub enum TlsEndpoint {
        /// Accepts connections: the target of a migration.
        Server = "server",
        /// Opens connections: the source.
        Client = "client",
    }
}

/// QAPI `object-add` for `authz-simple`: admits one certificate subject.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "qom-type", rename = "authz-simple")]
pub struct AddAuthzSimple {
    /// Object id, used in `tls-authz`.
    pub id: String,
    /// Distinguished name of the certificate, as GnuTLS writes it (`CN=kvm1`).
    pub identity: String,
}
command!(AddAuthzSimple, "object-add", Done);

/// QAPI `object-del`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectDel {
    /// Object id.
    pub id: String,
}
command!(ObjectDel, "object-del", Done);

/// QAPI `yank`: cuts a hung connection so that what waits on it fails. Send it out of band.
#[derive(Clone, Debug, Serialize)]
pub struct Yank {
    /// What to cut.
    pub instances: Vec<YankInstance>,
}
command!(Yank, "yank", Done);

/// QAPI `query-yank`: what has connections that can be cut. A migration is among it until QEMU has cleaned up after it,
/// which is some time after its last event.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryYank;
command!(QueryYank, "query-yank", Vec<YankInstance>);

/// QAPI `YankInstance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum YankInstance {
    /// The migration's connections.
    Migration,
    /// A character device's connection.
    Chardev {
        /// Chardev id.
        id: String,
    },
    /// A block node's connection.
    BlockNode {
        /// Node name.
        #[serde(rename = "node-name")]
        node_name: String,
    },
}

/// QAPI `qom-get`: a property of an object. The reply is the property's value, of whatever type.
#[derive(Clone, Debug, Serialize)]
pub struct QomGet {
    /// Object path, such as `/machine/unattached/device[0]`.
    pub path: String,
    /// Property name.
    pub property: String,
}
command!(QomGet, "qom-get", Value);

/// QAPI `qom-set`: gives a property of an object a value.
#[derive(Clone, Debug, Serialize)]
pub struct QomSet {
    /// Object path, such as `/machine/peripheral/balloon-0`.
    pub path: String,
    /// Property name.
    pub property: &'static str,
    /// Its new value.
    pub value: Value,
}
command!(QomSet, "qom-set", Done);

/// QAPI `qom-list`: the properties of an object.
#[derive(Clone, Debug, Serialize)]
pub struct QomList {
    /// Object path.
    pub path: String,
}
command!(QomList, "qom-list", Vec<ObjectProperty>);

/// QAPI `ObjectPropertyInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ObjectProperty {
    /// Property name.
    pub name: String,
    /// QOM type, such as `bool` or `child<pc-machine>`.
    #[serde(rename = "type")]
    pub kind: String,
}

/// QAPI `query-balloon`; an error where there is no balloon or its driver is not there.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryBalloon;
command!(QueryBalloon, "query-balloon", BalloonInfo);

/// QAPI `BalloonInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct BalloonInfo {
    /// Memory that the guest is left, in bytes.
    pub actual: u64,
}

/// QAPI `query-blockstats`, one entry a device.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryBlockstats;
command!(QueryBlockstats, "query-blockstats", Vec<BlockStats>);

/// QAPI `BlockStats`, the part that is shown.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct BlockStats {
    /// Node name, if the node is named.
    #[serde(rename = "node-name")]
    pub node_name: Option<String>,
    /// QOM path of the device.
    pub qdev: Option<String>,
    /// QAPI `BlockDeviceStats`: counters by name, bytes and operations.
    #[serde(default)]
    pub stats: BTreeMap<String, Value>,
}

/// QAPI `query-chardev`: which pseudo terminal a serial line got.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryChardev;
command!(QueryChardev, "query-chardev", Vec<Chardev>);

/// QAPI `ChardevInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Chardev {
    /// Chardev id.
    pub label: String,
    /// Where it is connected, such as `pty:/dev/pts/3`.
    pub filename: Option<String>,
    /// Whether the guest's side is open: of a virtio port, whether a program in the guest has it open.
    #[serde(rename = "frontend-open", default)]
    pub frontend_open: bool,
}

/// QAPI `set_link`: pulls or plugs the cable of a network card, as the guest sees it.
#[derive(Clone, Debug, Serialize)]
pub struct SetLink {
    /// Device id, [`crate::command_line::device_id`].
    pub name: String,
    /// Whether the cable is in.
    pub up: bool,
}
command!(SetLink, "set_link", Done);

/// QAPI `balloon`: what the guest shall keep; its balloon driver follows when it runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Balloon {
    /// Bytes.
    pub value: u64,
}
command!(Balloon, "balloon", Done);

/// QAPI `query-vnc`.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryVnc;
command!(QueryVnc, "query-vnc", Vnc);

/// QAPI `VncInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Vnc {
    /// Whether there is a VNC server.
    pub enabled: bool,
    /// Its address.
    pub host: Option<String>,
    /// QAPI `NetworkAddressFamily`: `ipv4`, `ipv6`, `unix`, `vsock`.
    #[serde(default)]
    pub family: Option<String>,
    /// Its TCP port, as text; of the family `unix` the path of its socket.
    pub service: Option<String>,
}
