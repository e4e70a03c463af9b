//! Commands that plug and unplug: block nodes, objects, host ends of network cards, devices, media.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Done, command};

/// QAPI `blockdev-add`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct BlockdevAdd {
    /// QAPI `BlockdevOptions`: [`crate::command_line::Blockdev::options`].
    pub options: Map<String, Value>,
}
command!(BlockdevAdd, "blockdev-add", Done);

/// QAPI `blockdev-del`. Refused while a device or another node uses the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevDel {
    /// Name of the node.
    pub node_name: String,
}
command!(BlockdevDel, "blockdev-del", Done);

/// QAPI `object-add`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct ObjectAdd {
    /// QAPI `ObjectOptions`: `qom-type`, `id` and what the type has.
    pub options: Map<String, Value>,
}
command!(ObjectAdd, "object-add", Done);

/// QAPI `netdev_add`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct NetdevAdd {
    /// QAPI `Netdev`: [`crate::command_line::Netdev::arguments`].
    pub options: Map<String, Value>,
}
command!(NetdevAdd, "netdev_add", Done);

/// QAPI `netdev_del`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetdevDel {
    /// Id.
    pub id: String,
}
command!(NetdevDel, "netdev_del", Done);

/// QAPI `device_add`. Its reply comes when the device is there; when the guest takes it up is the guest's matter.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct DeviceAdd {
    /// `driver` and its properties, with their types: [`crate::command_line::Device::arguments`].
    pub properties: Map<String, Value>,
}
command!(DeviceAdd, "device_add", Done);

/// QAPI `device_del`: asks the guest to let go of a device. It has, when `DEVICE_DELETED` comes; a guest that will
/// not may send `DEVICE_UNPLUG_GUEST_ERROR`, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceDel {
    /// Id.
    pub id: String,
}
command!(DeviceDel, "device_del", Done);

/// QAPI `blockdev-open-tray`. A guest that has locked the tray is asked to open it, and the command fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockdevOpenTray {
    /// Device id.
    pub id: String,
    /// Opens a locked tray, too.
    pub force: bool,
}
command!(BlockdevOpenTray, "blockdev-open-tray", Done);

/// QAPI `blockdev-close-tray`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockdevCloseTray {
    /// Device id.
    pub id: String,
}
command!(BlockdevCloseTray, "blockdev-close-tray", Done);

/// QAPI `blockdev-remove-medium`. The tray is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BlockdevRemoveMedium {
    /// Device id.
    pub id: String,
}
command!(BlockdevRemoveMedium, "blockdev-remove-medium", Done);

/// QAPI `blockdev-insert-medium`. The tray is open and empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlockdevInsertMedium {
    /// Device id.
    pub id: String,
    /// The node that becomes the medium.
    pub node_name: String,
}
command!(BlockdevInsertMedium, "blockdev-insert-medium", Done);

/// QAPI `query-block`, one entry a drive.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryBlock;
command!(QueryBlock, "query-block", Vec<Drive>);

/// QAPI `BlockInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Drive {
    /// QOM path or id of the device.
    pub qdev: Option<String>,
    /// Whether its medium can be changed.
    pub removable: bool,
    /// Whether the guest has locked the tray.
    pub locked: bool,
    /// Whether the tray is open; none where there is no tray.
    pub tray_open: Option<bool>,
    /// QAPI `BlockDeviceIoStatus`: `ok`, `failed`, `nospace`; none where the device does not say.
    #[serde(rename = "io-status")]
    pub io_status: Option<String>,
    /// The medium; none where the drive is empty.
    pub inserted: Option<Medium>,
}

/// QAPI `BlockDeviceInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Medium {
    /// Name of the node.
    #[serde(rename = "node-name")]
    pub node_name: Option<String>,
    /// File or protocol name.
    pub file: String,
    /// Whether it cannot be written.
    pub ro: bool,
}

/// QAPI `query-named-block-nodes`, without what lies below each node.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueryNamedBlockNodes {
    /// True: the images below are left out of the answer.
    pub flat: bool,
}
command!(QueryNamedBlockNodes, "query-named-block-nodes", Vec<Medium>);
