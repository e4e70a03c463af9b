//! Plugging and unplugging while the guest runs: the same nodes, network ends and devices that the command line
//! writes, as QMP commands. It never changes a definition and never picks an address: both were done before.
//! Main type: [`Step`].

use domain::{Disk, Domain};

use super::{CommandLineError, Object, disk, interface};
use crate::command::{
    BlockdevAdd, BlockdevCloseTray, BlockdevDel, BlockdevInsertMedium, BlockdevOpenTray,
    BlockdevRemoveMedium, DeviceAdd, NetdevAdd, NetdevDel, ObjectAdd, ObjectDel,
};
use crate::qmp::{Qmp, QmpError};

/// One QMP command.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A block node is made.
    AddNode(BlockdevAdd),
    /// A block node goes.
    DeleteNode(BlockdevDel),
    /// Limits of disks are made.
    AddObject(ObjectAdd),
    /// Limits of disks go.
    DeleteObject(ObjectDel),
    /// The host's end of a network card is made.
    AddNetdev(NetdevAdd),
    /// The host's end of a network card goes.
    DeleteNetdev(NetdevDel),
    /// The guest gets a device.
    AddDevice(DeviceAdd),
    /// A tray opens.
    OpenTray(BlockdevOpenTray),
    /// A medium leaves an open tray.
    RemoveMedium(BlockdevRemoveMedium),
    /// A medium is laid into an open tray.
    InsertMedium(BlockdevInsertMedium),
    /// A tray closes.
    CloseTray(BlockdevCloseTray),
}

impl Step {
    /// Sends it.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub async fn run(&self, qmp: &Qmp) -> Result<(), QmpError> {
        match self.clone() {
            Self::AddNode(command) => qmp.execute(command).await,
            Self::DeleteNode(command) => qmp.execute(command).await,
            Self::AddObject(command) => qmp.execute(command).await,
            Self::DeleteObject(command) => qmp.execute(command).await,
            Self::AddNetdev(command) => qmp.execute(command).await,
            Self::DeleteNetdev(command) => qmp.execute(command).await,
            Self::AddDevice(command) => qmp.execute(command).await,
            Self::OpenTray(command) => qmp.execute(command).await,
            Self::RemoveMedium(command) => qmp.execute(command).await,
            Self::InsertMedium(command) => qmp.execute(command).await,
            Self::CloseTray(command) => qmp.execute(command).await,
        }
        .map(drop)
    }

    /// What takes it back at once; none where that needs the guest, or was there before.
    fn undo(&self) -> Option<Step> {
        let named = |options: &serde_json::Map<String, serde_json::Value>, key| {
            options.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
        };
        match self {
            Self::AddNode(add) => {
                named(&add.options, "node-name").map(|node_name| Self::DeleteNode(BlockdevDel { node_name }))
            }
            Self::AddObject(add) => named(&add.options, "id").map(|id| Self::DeleteObject(ObjectDel { id })),
            Self::AddNetdev(add) => named(&add.options, "id").map(|id| Self::DeleteNetdev(NetdevDel { id })),
            Self::OpenTray(open) => Some(Self::CloseTray(BlockdevCloseTray { id: open.id.clone() })),
            Self::DeleteNode(_)
            | Self::DeleteObject(_)
            | Self::DeleteNetdev(_)
            | Self::AddDevice(_)
            | Self::RemoveMedium(_)
            | Self::InsertMedium(_)
            | Self::CloseTray(_) => None,
        }
    }
}

/// Takes steps in order. Where one fails, those before it are taken back as far as that goes without the guest.
///
/// # Errors
///
/// That of the first step that failed.
pub async fn run(qmp: &Qmp, steps: &[Step]) -> Result<(), QmpError> {
    for (place, step) in steps.iter().enumerate() {
        if let Err(error) = step.run(qmp).await {
            for undo in steps[..place].iter().rev().filter_map(Step::undo) {
                if let Err(error) = undo.run(qmp).await {
                    tracing::warn!("{undo:?} failed: {error}");
                }
            }
            return Err(error);
        }
    }
    Ok(())
}

/// The steps that plug a disk of a frozen definition, by its place there.
///
/// # Errors
///
/// The disk has no address.
pub fn disk(domain: &Domain, number: usize) -> Result<Vec<Step>, CommandLineError> {
    let limits = own_limits(domain, number).map(|Object(options)| Step::AddObject(ObjectAdd { options }));
    let mut steps: Vec<_> = limits.into_iter().collect();
    steps.extend(add_nodes(&domain.disks[number]));
    steps.push(Step::AddDevice(DeviceAdd { properties: disk::device(domain, number)?.arguments() }));
    Ok(steps)
}

/// The steps that plug an interface of a frozen definition, by its place there. The tap is made by QEMU where it is
/// missing; it sits on no bridge then.
///
/// # Errors
///
/// The interface has no address or no MAC address.
pub fn interface(
    domain: &Domain,
    number: usize,
    tap: &str,
    vhost: bool,
) -> Result<Vec<Step>, CommandLineError> {
    let (netdev, device) = interface::ends(domain, number, tap, vhost)?;
    Ok(vec![
        Step::AddNetdev(NetdevAdd { options: netdev.arguments() }),
        Step::AddDevice(DeviceAdd { properties: device.arguments() }),
    ])
}

/// What unplugs a disk of a running domain.
pub fn unplug_disk(domain: &Domain, number: usize) -> Unplug {
    let disk = &domain.disks[number];
    let mut afterwards = delete_nodes(disk);
    let id =
        own_limits(domain, number).and_then(|Object(options)| Some(options.get("id")?.as_str()?.to_owned()));
    afterwards.extend(id.map(|id| Step::DeleteObject(ObjectDel { id })));
    Unplug { device: disk::disk_id(&disk.target), afterwards }
}

/// What unplugs an interface of a running domain.
pub fn unplug_interface(domain: &Domain, number: usize) -> Unplug {
    let netdev = NetdevDel { id: interface::netdev_id(domain, number) };
    Unplug { device: interface::device_id(domain, number), afterwards: vec![Step::DeleteNetdev(netdev)] }
}

/// The steps that take the medium out of a drive, and leave its tray open. `force` opens a tray that the guest has
/// locked.
pub fn eject(drive: &Disk, force: bool) -> Vec<Step> {
    let id = disk::disk_id(&drive.target);
    let mut steps = vec![Step::OpenTray(BlockdevOpenTray { id: id.clone(), force })];
    steps.push(Step::RemoveMedium(BlockdevRemoveMedium { id }));
    steps.extend(delete_nodes(drive));
    steps
}

/// The steps that lay the medium of a drive, if it has one, into its open tray and close it.
pub fn insert(drive: &Disk) -> Vec<Step> {
    let id = disk::disk_id(&drive.target);
    let mut steps = add_nodes(drive);
    if let Some(node_name) = disk::nodes(drive).pop().map(|node| node.node_name) {
        steps.push(Step::InsertMedium(BlockdevInsertMedium { id: id.clone(), node_name }));
    }
    steps.push(Step::CloseTray(BlockdevCloseTray { id }));
    steps
}

/// The limits of a disk that it shares with no other.
fn own_limits(domain: &Domain, number: usize) -> Option<Object> {
    let own = disk::throttle(&domain.disks[number]);
    let mut others = domain.disks.iter().enumerate().filter(|(place, _)| *place != number);
    own.filter(|own| others.all(|(_, other)| disk::throttle(other).as_ref() != Some(own)))
}

fn add_nodes(disk: &Disk) -> Vec<Step> {
    disk::nodes(disk).iter().map(|node| Step::AddNode(BlockdevAdd { options: node.options() })).collect()
}

fn delete_nodes(disk: &Disk) -> Vec<Step> {
    let nodes = disk::nodes(disk).into_iter().rev();
    nodes.map(|node| Step::DeleteNode(BlockdevDel { node_name: node.node_name })).collect()
}

/// A device that the guest is asked to let go.
#[derive(Clone, Debug, PartialEq)]
pub struct Unplug {
    /// Its id.
    pub device: String,
    /// What frees the host's side once the device is gone. None of these steps needs another.
    pub afterwards: Vec<Step>,
}

impl Unplug {
    /// Frees the host's side of a device that is gone.
    pub async fn free(&self, qmp: &Qmp) {
        for step in &self.afterwards {
            if let Err(error) = step.run(qmp).await {
                tracing::warn!("{step:?} failed: {error}");
            }
        }
    }
}

#[cfg(test)]
mod tests;
