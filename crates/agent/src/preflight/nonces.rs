//! Nonces of a check: a source writes one into each directory that holds something of a disk, the target reads them, the
//! source takes them away. Where each lies is remembered in the agent's own directory before it is written, so that an
//! agent that was killed in between leaves none for good. Main types: [`Nonces`], [`NoncesRead`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use api::{CheckOffer, DiskFacts, FileFacts, NonceSeen, PlaceFacts};
use futures_util::future::join_all;
use storage::NonceRead;
use tokio::time::timeout;
use uuid::Uuid;

use super::{no_answer, within};
use crate::failure::chain;
use crate::limits::{FACT_TIMEOUT, NONCES_MAX};
use crate::node::Node;
use crate::store::{Store, StoreError, blocking};

/// The directory of a file that a disk is made of; none of a device, and of what is no file of this host.
fn directory(file: &FileFacts) -> Option<&Path> {
    if file.block { None } else { Path::new(&file.path).parent().filter(|_| file.bytes.is_some()) }
}

fn files(disk: &DiskFacts) -> impl Iterator<Item = &FileFacts> {
    disk.file.iter().chain(&disk.below)
}

/// Nonces that a source has written; [`Nonces::remove`] takes them away again.
pub(super) struct Nonces {
    check: Uuid,
    store: Store,
    /// What became of each, by its directory.
    written: BTreeMap<PathBuf, Written>,
}

enum Written {
    Durably,
    /// It may still come.
    Late,
    Failed(String),
}

impl Nonces {
    /// Writes one into the directory of every file that the disks are made of; none where they cannot be remembered.
    pub(super) async fn write(node: &Node, disks: &[DiskFacts]) -> Result<Nonces, StoreError> {
        let check = Uuid::new_v4();
        let mut directories: Vec<&Path> = disks.iter().flat_map(files).filter_map(directory).collect();
        directories.sort_unstable();
        directories.dedup();
        directories.truncate(NONCES_MAX);
        let paths: Vec<PathBuf> =
            directories.iter().map(|directory| storage::nonce_path(&directory.join("x"), check)).collect();
        let (store, remembered) = (node.store.clone(), paths.clone());
        blocking(move || store.write_check(check, &remembered)).await?;
        let written = join_all(paths.iter().map(|path| write_one(path, check))).await;
        let written = directories.iter().map(|directory| directory.to_path_buf()).zip(written);
        Ok(Nonces { check, store: node.store.clone(), written: written.collect() })
    }

    /// The check that they are named after.
    pub(super) fn check(&self) -> Uuid {
        self.check
    }

    /// The directories that have one.
    pub(super) fn directories(&self) -> Vec<String> {
        let written = self.written.iter().filter(|(_, written)| matches!(written, Written::Durably));
        written.map(|(directory, _)| directory.display().to_string()).collect()
    }

    /// Notes at each disk whether its directory has one.
    pub(super) fn note(&self, disks: &mut [DiskFacts]) {
        for disk in disks {
            let written = disk.file.as_ref().and_then(directory).and_then(|place| self.written.get(place));
            disk.nonce = written.map(|written| match written {
                Written::Durably => NonceSeen::Same,
                Written::Late => NonceSeen::Unreadable { reason: no_answer(FACT_TIMEOUT) },
                Written::Failed(reason) => NonceSeen::Unreadable { reason: reason.clone() },
            });
        }
    }

    /// Takes them away. What a storage that does not answer keeps is taken away when the agent starts again.
    pub(super) async fn remove(self) {
        let there = self.written.iter().filter(|(_, written)| !matches!(written, Written::Failed(_)));
        let paths = there.map(|(directory, _)| storage::nonce_path(&directory.join("x"), self.check));
        let late = self.written.values().any(|written| matches!(written, Written::Late));
        let gone = remove_all(paths.collect()).await;
        if gone && !late {
            forget(&self.store, self.check).await;
        }
    }
}

async fn write_one(path: &Path, check: Uuid) -> Written {
    match timeout(FACT_TIMEOUT, storage::write_nonce(path, check)).await {
        Ok(Ok(())) => Written::Durably,
        Ok(Err(storage::RecordError::TimedOut { .. })) | Err(_) => Written::Late,
        Ok(Err(error)) => Written::Failed(chain(&error)),
    }
}

/// Whether all are gone.
async fn remove_all(paths: Vec<PathBuf>) -> bool {
    let removing = paths.into_iter().map(|path| async move {
        let fault = match timeout(FACT_TIMEOUT, storage::remove_nonce(&path)).await {
            Ok(Ok(()) | Err(storage::RecordError::MissingDirectory { .. })) => return true,
            Ok(Err(error)) => chain(&error),
            Err(_elapsed) => no_answer(FACT_TIMEOUT),
        };
        tracing::warn!("the nonce {} is left behind until this agent starts again: {fault}", path.display());
        false
    });
    join_all(removing).await.into_iter().all(|gone| gone)
}

async fn forget(store: &Store, check: Uuid) {
    let store = store.clone();
    if let Err(error) = blocking(move || store.remove_check(check)).await {
        tracing::warn!("a check was not forgotten: {}", chain(&error));
    }
}

/// Takes away what checks of an agent that was killed have left, as [`Store::checks`] remembers them.
pub(crate) async fn sweep(store: Store, left: Vec<(Uuid, Vec<PathBuf>)>) {
    let sweeping = left.into_iter().map(|(check, paths)| {
        let store = &store;
        async move {
            tracing::info!(%check, "a check was interrupted: its nonces are taken away");
            if remove_all(paths).await {
                forget(store, check).await;
            }
        }
    });
    join_all(sweeping).await;
}

/// What the target found where the source has written.
pub(super) struct NoncesRead(BTreeMap<PathBuf, Found>);

struct Found {
    seen: NonceSeen,
    lock_fault: Option<String>,
}

impl NoncesRead {
    /// Reads them, as far as they lie where this host allows something.
    pub(super) async fn read(node: &Node, offer: &CheckOffer) -> NoncesRead {
        let directories = offer.nonces.iter().take(NONCES_MAX).map(PathBuf::from);
        let reading = directories.filter_map(|directory| {
            let path = storage::nonce_path(&directory.join("x"), offer.check);
            node.allows(&path).then_some(async move { (directory, read_one(&path, offer.check).await) })
        });
        NoncesRead(join_all(reading).await.into_iter().collect())
    }

    /// Notes it at each place that a file would be copied to.
    pub(super) fn note_places(&self, places: &mut [PlaceFacts]) {
        for place in places {
            let found = Path::new(&place.path).parent().and_then(|directory| self.0.get(directory));
            place.beside_nonce = found.is_some_and(|found| found.seen == NonceSeen::Same);
        }
    }

    /// Notes it at each disk.
    pub(super) fn note(&self, disks: &mut [DiskFacts]) {
        let found = |file: &FileFacts| self.0.get(directory(file)?);
        for disk in disks {
            let Some(file) = &disk.file else { continue };
            if let Some(found) = found(file) {
                disk.nonce = Some(found.seen.clone());
                disk.lock_fault = found.lock_fault.clone();
            }
            for file in disk.file.iter_mut().chain(&mut disk.below) {
                file.beside_nonce = found(file).is_some_and(|found| found.seen == NonceSeen::Same);
            }
        }
    }
}

async fn read_one(path: &Path, check: Uuid) -> Found {
    let looked = async {
        let read = storage::read_nonce(path, check).await?;
        let lock_fault = match read {
            // QEMU's own NFS client asks for no lock.
            NonceRead::Same if storage::is_over_nfs(path) => None,
            NonceRead::Same => storage::lock_nonce(path).await.err().map(|error| chain(&error)),
            NonceRead::Missing | NonceRead::Zeros | NonceRead::Failing | NonceRead::Other => None,
        };
        Ok::<_, storage::RecordError>((read, lock_fault))
    };
    match within("a nonce", looked).await {
        Ok((read, lock_fault)) => Found { seen: told(read), lock_fault },
        Err(unknown) => Found { seen: NonceSeen::Unreadable { reason: unknown.reason }, lock_fault: None },
    }
}

fn told(read: NonceRead) -> NonceSeen {
    match read {
        NonceRead::Same => NonceSeen::Same,
        NonceRead::Missing => NonceSeen::Missing,
        NonceRead::Zeros => NonceSeen::Zeros,
        NonceRead::Failing => NonceSeen::Failing,
        NonceRead::Other => NonceSeen::Other,
    }
}
