//! The files that come to this host with a domain that is shut off: each is a replica that the source fills, over as many
//! connections and as many tries as it takes. Until the domain is this host's they have no name that anything starts from, or
//! lie over an older copy that its owner record keeps from being started. What other domains here stand on is only compared
//! with what would come, and used as it is. Main type: [`Landing`].
//!
//! ```text
//! GET file ──► open, what is held ──► POST blocks… ──► POST complete: equal ─┐ all are
//!                     ▲                    └─ cut ─┐                         ├──────► publish ──► forget
//!                     └────────────────────────────┘                         └ given up: discard
//! ```

mod converted;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use api::{CopyFile, CopyRole, FileTaken, Verify};
use axum::body::BodyDataStream;
use migration::journal::Carried;
use storage::{Export, Held, ImageFormat, Opening, Proof, Replica, Root, Stamp, There, TransferError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::converted::Converted;
use crate::failure::{CarryFailure, Failure};
use crate::node::Node;
use crate::store::blocking;

/// All that come to this host now, by their migrations.
#[derive(Default)]
pub(crate) struct Landings(Mutex<HashMap<Uuid, Arc<Landing>>>);

impl Landings {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Landing>>> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Its files can come from now on.
    pub(crate) fn open(&self, landing: &Arc<Landing>) {
        self.lock().insert(landing.migration, Arc::clone(landing));
    }

    /// Nothing more comes.
    pub(crate) fn close(&self, migration: Uuid) {
        self.lock().remove(&migration);
    }

    /// The files of a migration, where they can come.
    pub(crate) fn find(&self, migration: Uuid) -> Option<Arc<Landing>> {
        self.lock().get(&migration).cloned()
    }
}

/// The files of one domain.
pub(crate) struct Landing {
    migration: Uuid,
    files: Vec<Carried>,
    /// Where each goes.
    places: Vec<PathBuf>,
    /// What is known of each over restarts.
    logs: Vec<PathBuf>,
    /// The images among them that are made anew.
    converted: Vec<Option<Converted>>,
    proof: Proof,
    slots: Vec<tokio::sync::Mutex<Slot>>,
    /// Which are here wholly.
    equal: watch::Sender<Vec<bool>>,
    /// The journal says that all are, or that they are not wanted.
    noted: CancellationToken,
}

/// What of a file is open.
#[derive(Default)]
struct Slot {
    /// For one version of the source's file.
    replica: Option<(Stamp, Arc<Replica>)>,
    /// What it is written through, of an image that is made anew.
    export: Option<Export>,
}

impl Slot {
    /// Ends what still comes in for it.
    async fn end(&mut self) {
        if let Some((_, replica)) = self.replica.take() {
            replica.end_streams().await;
        }
    }

    /// What was written is in the file then.
    async fn close(&mut self) -> Result<(), Failure> {
        self.end().await;
        match self.export.take() {
            Some(export) => Ok(export.end().await.map_err(CarryFailure::from)?),
            None => Ok(()),
        }
    }
}

impl Landing {
    /// Nothing is opened yet.
    ///
    /// # Errors
    /// [`Failure::PathNotAllowed`] where a file is to go where this host allows none, [`CarryFailure::Name`] for one of the
    /// TPM's that is no file's name.
    pub(crate) fn new(
        node: &Node,
        migration: Uuid,
        domain: Uuid,
        files: Vec<Carried>,
        verify: Verify,
    ) -> Result<Landing, Failure> {
        let places =
            files.iter().map(|carried| place(node, domain, &carried.file)).collect::<Result<Vec<_>, _>>()?;
        let logs = (0..files.len()).map(|number| node.store.copy_log(migration, number)).collect();
        let slots = files.iter().map(|_| tokio::sync::Mutex::default()).collect();
        let converted = files.iter().zip(&places).enumerate().map(|(number, (carried, path))| {
            let qcow2 = image_of(&carried.file.role).is_some_and(|(_, format)| format == ImageFormat::Qcow2);
            // One that becomes raw is nothing but what the guest sees.
            (carried.file.converted && qcow2).then(|| {
                let (shown, log) =
                    (node.store.shown_image(migration, number), node.store.copy_log(migration, number));
                Converted::new(path, &tag(migration, number), shown, log)
            })
        });
        let converted = converted.collect();
        let equal = watch::Sender::new(vec![false; files.len()]);
        let proof = match verify {
            Verify::Disk => Proof::Disk,
            Verify::Wire => Proof::Wire,
        };
        let noted = CancellationToken::new();
        Ok(Landing { migration, files, places, logs, converted, proof, slots, equal, noted })
    }

    /// What is held of a file, of which the source has the version `stamp`.
    pub(crate) async fn held(&self, number: usize, stamp: Stamp) -> Result<Held, Failure> {
        Ok(self.replica(number, Some(stamp)).await?.held().await.map_err(CarryFailure::from)?)
    }

    /// Takes in what one connection brings.
    pub(crate) async fn take(&self, number: usize, frames: &mut BodyDataStream) -> Result<(), Failure> {
        let replica = self.replica(number, None).await?;
        Ok(replica.take(frames).await.map_err(|error| self.failed(number, error))?)
    }

    /// Whether a file is here wholly, and equal.
    pub(crate) async fn complete(&self, number: usize, root: Root) -> Result<FileTaken, Failure> {
        let replica = self.replica(number, None).await?;
        match replica.complete(root).await {
            Ok(()) => {
                drop(replica);
                self.equal.send_modify(|equal| equal[number] = true);
                if self.is_whole() {
                    // The source gives its word on this: whoever dies before it is noted hears of the files again.
                    self.noted.cancelled().await;
                }
                Ok(FileTaken::Equal)
            }
            Err(error @ (TransferError::Differs { .. } | TransferError::Mangled { .. })) => {
                Ok(FileTaken::Differs { reason: crate::failure::chain(&error) })
            }
            Err(error) => Err(CarryFailure::from(error).into()),
        }
    }

    /// The replica of a file; opened where its source says which version it has.
    async fn replica(&self, number: usize, stamp: Option<Stamp>) -> Result<Arc<Replica>, Failure> {
        let known = self.slots.get(number).ok_or(CarryFailure::NoSuchFile { number })?;
        let mut slot = known.lock().await;
        // The source's file is another one now, or the same agent asks again: the log knows what still counts.
        if let (Some((version, _)), Some(stamp)) = (&slot.replica, stamp)
            && *version != stamp
        {
            slot.end().await;
        }
        if let Some((_, open)) = &slot.replica {
            return Ok(Arc::clone(open));
        }
        let stamp = stamp.ok_or(CarryFailure::NotAsked { number })?;
        let Carried { file, over, kept, .. } = &self.files[number];
        if matches!(file.role, CopyRole::Tpm { .. }) {
            make_directory(&self.places[number]).await?;
        }
        if let (Some(converted), None) = (&self.converted[number], &slot.export) {
            slot.export = Some(converted.show(file.length_bytes).await?);
        }
        let opening = Opening {
            there: match kept {
                Some(_) => There::Kept,
                None if *over || slot.export.is_some() => There::Older,
                None => There::Nothing,
            },
            path: slot.export.as_ref().map_or(self.places[number].as_path(), Export::place).to_owned(),
            tag: tag(self.migration, number),
            log: self.logs[number].clone(),
            length: file.length_bytes,
            stamp,
            proof: self.proof,
        };
        let opened = Replica::open(opening).await.map_err(|error| self.failed(number, error))?;
        let opened = Arc::new(opened);
        slot.replica = Some((stamp, Arc::clone(&opened)));
        Ok(opened)
    }

    /// Why a file does not come; of one that is not written over, for whom it is not.
    fn failed(&self, number: usize, error: TransferError) -> CarryFailure {
        match (error, &self.files[number].kept) {
            (TransferError::Kept { path }, Some(users)) => CarryFailure::Kept { path, users: users.clone() },
            (error, _) => error.into(),
        }
    }

    /// Whether all files are here.
    pub(crate) fn is_whole(&self) -> bool {
        self.equal.borrow().iter().all(|equal| *equal)
    }

    /// Waits until all files are here. Cancel safe.
    pub(crate) async fn whole(&self) {
        let mut seen = self.equal.subscribe();
        // The sender is this landing's own.
        _ = seen.wait_for(|equal| equal.iter().all(|equal| *equal)).await;
    }

    /// The journal says what has become of all files.
    pub(crate) fn note(&self) {
        self.noted.cancel();
    }

    /// Gives the copies their names, and the images among them the names of what they stand on.
    pub(crate) async fn publish(&self) -> Result<(), Failure> {
        for (number, slot) in self.slots.iter().enumerate() {
            let mut slot = slot.lock().await;
            if let Some(converted) = &self.converted[number] {
                slot.close().await?;
                converted.publish().await?;
                continue;
            }
            let Some((_, replica)) = &slot.replica else { continue };
            let backing = self.files[number].file.backing.as_ref();
            if let Some(backing) = backing {
                storage::rebase(&replica.place(), Path::new(backing), self.below(number)).await?;
            }
            replica.publish().await.map_err(CarryFailure::from)?;
        }
        Ok(())
    }

    /// The format of the image right below one: images of a disk come from the bottom of their chain upwards.
    fn below(&self, number: usize) -> ImageFormat {
        let above = image_of(&self.files[number].file.role);
        let mut lower = self.files[..number].iter().rev().filter_map(|carried| image_of(&carried.file.role));
        let found = lower.find(|(disk, _)| above.is_some_and(|(above, _)| above == *disk));
        found.map_or(ImageFormat::Raw, |(_, format)| format)
    }

    /// Whether an owner record is the one of a file that has come.
    pub(crate) fn owns(&self, record: &Path) -> bool {
        self.places.iter().any(|place| storage::owner_path(place) == record)
    }

    /// Closes a file, and ends what is made anew of it.
    async fn let_go(
        &self,
        number: usize,
        end: impl AsyncFnOnce(&Converted) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let closed = self.slots[number].lock().await.close().await;
        if let Some(converted) = &self.converted[number] {
            end(converted).await?;
        }
        closed
    }

    /// The domain is this host's: only what was remembered of the copying goes.
    pub(crate) async fn forget(&self) {
        for (number, log) in self.logs.iter().enumerate() {
            if let Err(failure) = self.let_go(number, Converted::forget).await {
                tracing::warn!("the hidden name of a copy was left behind: {}", failure.chain());
            }
            if let Err(error) = storage::forget_replica(log).await {
                tracing::warn!("the log of a copy was left behind: {}", crate::failure::chain(&error));
            }
        }
    }

    /// The domain stays where it was: the copies go. An older copy that lay here stays, overwritten as far as it was.
    pub(crate) async fn discard(&self) {
        self.note();
        for (number, log) in self.logs.iter().enumerate() {
            if let Err(failure) = self.let_go(number, Converted::discard).await {
                tracing::warn!("a copy was left behind: {}", failure.chain());
            }
            if let Err(error) = storage::discard_replica(log).await {
                tracing::warn!("a copy was left behind: {}", crate::failure::chain(&error));
            }
        }
    }
}

/// Takes away what was left of copies when their migration ended, because the disk did not take that.
pub(crate) async fn sweep(logs: Vec<PathBuf>) {
    for log in logs {
        match storage::sweep_replica(&log).await {
            Ok(()) => tracing::info!(log = %log.display(), "what was left of a copy is taken away"),
            Err(error) => tracing::warn!("a copy is still left behind: {}", crate::failure::chain(&error)),
        }
    }
}

/// Part of the hidden name of a file that is not here wholly.
fn tag(migration: Uuid, number: usize) -> String {
    format!("{}-{number}", migration.simple())
}

/// The disk that an image is of, and its format; none of other files.
pub(crate) fn image_of(role: &CopyRole) -> Option<(&str, ImageFormat)> {
    match role {
        CopyRole::Disk { disk, format } | CopyRole::Backing { disk, format } => {
            Some((disk.as_str(), if format == "qcow2" { ImageFormat::Qcow2 } else { ImageFormat::Raw }))
        }
        CopyRole::Nvram | CopyRole::Tpm { .. } => None,
    }
}

/// The directory that a file is to lie in; its TPM's is made by nobody else before the domain starts.
async fn make_directory(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    let made = blocking(move || std::fs::create_dir_all(directory)).await;
    made.map_err(|source| CarryFailure::Directory { path: path.to_owned(), source }.into())
}

/// Where a file goes, if this host allows it there.
fn place(node: &Node, domain: Uuid, file: &CopyFile) -> Result<PathBuf, Failure> {
    if let CopyRole::Tpm { name } = &file.role {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            return Err(CarryFailure::Name { name: name.clone() }.into());
        }
        return Ok(node.store.tpm_directory(domain).join(name));
    }
    let path = PathBuf::from(&file.path);
    if node.allows(&path) && !storage::is_over_nfs(&path) {
        return Ok(path);
    }
    Err(Failure::PathNotAllowed { path, allowed: node.config.allowed_paths.clone() })
}
