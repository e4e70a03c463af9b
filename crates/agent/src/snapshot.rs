//! Snapshots of a domain that is shut off: one inside each of its own disks, all of one name, all or none. Main
//! functions: [`create`], [`list`], [`revert`], [`delete`].

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use api::Snapshot;
use domain::{Definition, DiskFormat, Domain};
use storage::{ImageFormat, SnapshotVerb};

use crate::failure::{CopyFailure, Failure};
use crate::guest::{OwnDisk, own_disks};
use crate::keeper::Ask;
use crate::limits::SNAPSHOT_NAME_BYTES_MAX;
use crate::node::Node;
use crate::tracker::rfc3339;

/// Makes a snapshot of every disk; where one fails, those that were made are taken away again.
pub(crate) async fn create(node: &Node, domain: &str, name: &str) -> Result<Snapshot, Failure> {
    let loan = node.ask(domain, Ask::Lend).await?;
    check_name(name)?;
    let disks = disks(loan.definition.domain())?;
    let known = snapshots(&disks).await?;
    if known.iter().any(|snapshot| snapshot.name == name) {
        return Err(Failure::Copy(CopyFailure::SnapshotExists {
            domain: domain.to_owned(),
            name: name.to_owned(),
        }));
    }
    for (count, disk) in disks.iter().enumerate() {
        if let Err(error) = storage::snapshot(&disk.path, SnapshotVerb::Create, name).await {
            for made in &disks[..count] {
                if let Err(error) = storage::snapshot(&made.path, SnapshotVerb::Delete, name).await {
                    tracing::warn!(disk = made.target, "half a snapshot was left behind: {error}");
                }
            }
            return Err(error.into());
        }
    }
    let missing =
        || Failure::Copy(CopyFailure::SnapshotNotFound { domain: domain.to_owned(), name: name.to_owned() });
    snapshots(&disks).await?.into_iter().find(|snapshot| snapshot.name == name).ok_or_else(missing)
}

/// The snapshots of a domain, the oldest first; also while it runs.
pub(crate) async fn list(node: &Node, domain: &str) -> Result<Vec<Snapshot>, Failure> {
    let xml = node.ask(domain, |reply| Ask::Xml { inactive: false, reply }).await?;
    let definition = Definition::parse(&xml).map_err(Failure::Definition)?;
    let mut disks = own_disks(definition.domain())?;
    disks.retain(|disk| disk.format == DiskFormat::Qcow2);
    snapshots(&disks).await
}

/// Makes the content of every disk what it was. Where one fails, doing it again does the rest.
pub(crate) async fn revert(node: &Node, domain: &str, name: &str) -> Result<Snapshot, Failure> {
    let loan = node.ask(domain, Ask::Lend).await?;
    let disks = disks(loan.definition.domain())?;
    let snapshot = find(&disks, domain, name).await?;
    if let Some(lacking) = disks.iter().find(|disk| !snapshot.disks.contains(&disk.target)) {
        return Err(Failure::Copy(CopyFailure::SnapshotLacking {
            disk: lacking.target.clone(),
            name: name.to_owned(),
        }));
    }
    for disk in &disks {
        storage::snapshot(&disk.path, SnapshotVerb::Revert, name).await?;
    }
    Ok(snapshot)
}

/// Forgets a snapshot on every disk that has it. Where one fails, doing it again does the rest.
pub(crate) async fn delete(node: &Node, domain: &str, name: &str) -> Result<(), Failure> {
    let loan = node.ask(domain, Ask::Lend).await?;
    let mut disks = own_disks(loan.definition.domain())?;
    disks.retain(|disk| disk.format == DiskFormat::Qcow2);
    let snapshot = find(&disks, domain, name).await?;
    for disk in disks.iter().filter(|disk| snapshot.disks.contains(&disk.target)) {
        storage::snapshot(&disk.path, SnapshotVerb::Delete, name).await?;
    }
    Ok(())
}

/// The disks that a snapshot is made of: all that the guest alone writes.
fn disks(domain: &Domain) -> Result<Vec<OwnDisk>, Failure> {
    let disks = own_disks(domain)?;
    if let Some(disk) = disks.iter().find(|disk| disk.format != DiskFormat::Qcow2) {
        return Err(Failure::Copy(CopyFailure::SnapshotFormat {
            disk: disk.target.clone(),
            path: disk.path.clone(),
        }));
    }
    if disks.is_empty() {
        return Err(Failure::Copy(CopyFailure::NoDisks { domain: domain.name.clone() }));
    }
    Ok(disks)
}

/// QEMU takes a name of digits for an id, and lists end where a line does.
fn check_name(name: &str) -> Result<(), Failure> {
    let fits = name.len() <= SNAPSHOT_NAME_BYTES_MAX && !name.starts_with('-');
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if fits && letters && !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    Err(Failure::Copy(CopyFailure::SnapshotName { name: name.to_owned() }))
}

async fn find(disks: &[OwnDisk], domain: &str, name: &str) -> Result<Snapshot, Failure> {
    let known = snapshots(disks).await?;
    let missing =
        || Failure::Copy(CopyFailure::SnapshotNotFound { domain: domain.to_owned(), name: name.to_owned() });
    known.into_iter().find(|snapshot| snapshot.name == name).ok_or_else(missing)
}

/// What the disks have, by name; the oldest first.
async fn snapshots(disks: &[OwnDisk]) -> Result<Vec<Snapshot>, Failure> {
    let mut found: BTreeMap<String, (u64, Snapshot)> = BTreeMap::new();
    for disk in disks {
        for snapshot in storage::image(&disk.path, ImageFormat::Qcow2).await?.snapshots {
            let at = rfc3339(SystemTime::UNIX_EPOCH + Duration::from_secs(snapshot.date_sec));
            let (_, known) = found.entry(snapshot.name.clone()).or_insert_with(|| {
                let (name, disks) = (snapshot.name, Vec::new());
                (snapshot.date_sec, Snapshot { name, created_at: at, memory_bytes: 0, disks })
            });
            known.memory_bytes += snapshot.vm_state_size;
            known.disks.push(disk.target.clone());
        }
    }
    let mut found: Vec<(u64, Snapshot)> = found.into_values().collect();
    found.sort_by_key(|(at, _)| *at);
    Ok(found.into_iter().map(|(_, snapshot)| snapshot).collect())
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_never_ids() {
        for (name, fits) in [("clean", true), ("2026-01-01", true), ("7", false), ("", false), ("-d", false)]
        {
            assert_eq!(check_name(name).is_ok(), fits, "{name:?}");
        }
        assert!(check_name("a b").is_err() && check_name(&"a".repeat(300)).is_err());
    }
}
