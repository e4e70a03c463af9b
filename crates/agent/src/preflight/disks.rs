//! The disks of a domain as this host sees them, and the nonces beside them. It never opens what this host does not
//! allow. Main functions: [`look`], [`Nonces::write`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use api::{DiskFacts, NonceSeen, UnknownFact};
use domain::{Disk, DiskSource, Domain};
use futures_util::future::join_all;
use storage::NonceRead;
use uuid::Uuid;

use super::{no_answer, within};
use crate::disks::{below, image_format, path_of};
use crate::failure::chain;
use crate::limits::FACT_TIMEOUT;
use crate::node::Node;

/// Every disk that is a file or a device, in the order of the definition.
pub(super) async fn look(node: &Node, domain: &Domain) -> Vec<DiskFacts> {
    let disks = domain.disks.iter().filter_map(|disk| Some((disk, path_of(disk)?)));
    join_all(disks.map(|(disk, path)| bounded(node, disk, path))).await
}

async fn bounded(node: &Node, disk: &Disk, path: &Path) -> DiskFacts {
    let facts = |fault| DiskFacts {
        disk: disk.target.clone(),
        path: path.display().to_string(),
        fault: Some(fault),
        ..DiskFacts::default()
    };
    match tokio::time::timeout(FACT_TIMEOUT, one(node, disk, path)).await {
        Ok(Ok(seen)) => seen,
        Ok(Err((fault, free_bytes))) => DiskFacts { free_bytes, ..facts(fault) },
        Err(_elapsed) => facts(format!(
            "{}: the server of its mount does not answer, or its export is stale",
            no_answer(FACT_TIMEOUT)
        )),
    }
}

/// A disk that can be used; else why not, and what room there would be for it.
async fn one(node: &Node, disk: &Disk, path: &Path) -> Result<DiskFacts, (String, Option<u64>)> {
    let opened = match storage::open_check(path, !disk.readonly).await {
        Ok(opened) => opened,
        Err(error) => {
            let directory = path.parent().filter(|_| node.allows(path));
            let free = match directory {
                Some(directory) => storage::filesystem(directory).await.ok(),
                None => None,
            };
            return Err((chain(&error), free.map(|filesystem| filesystem.free_bytes)));
        }
    };
    let facts = DiskFacts {
        disk: disk.target.clone(),
        path: path.display().to_string(),
        inode: Some(opened.identity.inode).filter(|inode| *inode != 0),
        ..DiskFacts::default()
    };
    // What is forbidden is not looked into: that is a finding of its own.
    if !node.allows(path) {
        return Ok(facts);
    }
    let looked = tokio::join!(
        below(node, disk, path),
        storage::image(path, image_format(disk)),
        storage::filesystem(path)
    );
    let (Ok(below), Ok(image), filesystem) = looked else {
        let fault = looked.0.err().or(looked.1.err());
        return Err((fault.map(|error| chain(&error)).unwrap_or_default(), None));
    };
    let filesystem = filesystem.ok();
    Ok(DiskFacts {
        size_bytes: Some(image.virtual_size),
        taken_bytes: image.actual_size,
        filesystem: filesystem.map(|filesystem| filesystem.kind),
        free_bytes: filesystem.map(|filesystem| filesystem.free_bytes),
        backing: below.backing.iter().map(|file| file.display().to_string()).collect(),
        snapshots: image.snapshots.into_iter().map(|snapshot| snapshot.name).collect(),
        ..facts
    })
}

/// Nonces that a source has written; [`Nonces::remove`] takes them away again.
pub(super) struct Nonces {
    check: Uuid,
    written: Vec<(String, PathBuf)>,
}

impl Nonces {
    /// Writes one beside every file that the domain alone writes.
    pub(super) async fn write(
        node: &Node,
        domain: &Domain,
        check: Uuid,
        unknown: &mut Vec<UnknownFact>,
    ) -> Nonces {
        let files = domain.disks.iter().filter(|disk| disk.is_writable_alone()).filter_map(|disk| match disk
            .source
            .as_ref()?
        {
            DiskSource::File(path) if node.allows(path) => Some((disk.target.clone(), path)),
            DiskSource::File(_) | DiskSource::Block(_) | DiskSource::Nfs { .. } => None,
        });
        let writing = files.map(|(disk, file)| async move {
            let path = storage::nonce_path(file, &disk, check);
            let what = format!("whether the directory of {} is shared", file.display());
            let written = within(&what, storage::write_nonce(&path, check)).await;
            (disk, path, written)
        });
        let mut nonces = Nonces { check, written: Vec::new() };
        for (disk, path, written) in join_all(writing).await {
            match written {
                Ok(()) => nonces.written.push((disk, path)),
                Err(fact) => unknown.push(fact),
            }
        }
        nonces
    }

    /// The disks that have one.
    pub(super) fn disks(&self) -> Vec<String> {
        self.written.iter().map(|(disk, _)| disk.clone()).collect()
    }

    /// Takes them away. A storage that does not answer keeps one, and its name says whose it was.
    pub(super) async fn remove(self) {
        for (_, path) in &self.written {
            let removed = tokio::time::timeout(REMOVE_TIMEOUT, storage::remove_nonce(path)).await;
            let fault = match removed {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => chain(&error),
                Err(_elapsed) => no_answer(REMOVE_TIMEOUT),
            };
            tracing::warn!(check = %self.check, "{} was left behind: {fault}", path.display());
        }
    }
}

/// How long taking a nonce away may take.
const REMOVE_TIMEOUT: Duration = FACT_TIMEOUT;

/// Reads on this host what a source has written beside the disks.
pub(super) async fn read_nonces(
    node: &Node,
    domain: &Domain,
    offer: &api::CheckOffer,
    facts: &mut [DiskFacts],
) {
    let reading = facts.iter_mut().filter(|facts| facts.fault.is_none()).filter_map(|facts| {
        let disk = domain.disks.iter().find(|disk| disk.target == facts.disk)?;
        let path = path_of(disk).filter(|path| node.allows(path))?;
        let asked = offer.nonces.contains(&disk.target);
        asked.then(|| read_nonce(storage::nonce_path(path, &disk.target, offer.check), offer.check, facts))
    });
    join_all(reading).await;
}

async fn read_nonce(path: PathBuf, check: Uuid, facts: &mut DiskFacts) {
    let read = within("a nonce", storage::read_nonce(&path, check)).await;
    let seen = match read {
        Ok(NonceRead::Same) => NonceSeen::Same,
        Ok(NonceRead::Missing) => NonceSeen::Missing,
        Ok(NonceRead::Zeros) => NonceSeen::Zeros,
        Ok(NonceRead::Other) => NonceSeen::Other,
        Err(unknown) => NonceSeen::Unreadable { reason: unknown.reason },
    };
    if seen == NonceSeen::Same {
        let locked = within("a lock", storage::lock_nonce(&path)).await;
        facts.lock_fault = locked.err().map(|unknown| unknown.reason);
    }
    facts.nonce = Some(seen);
}
