//! The disks of a guest that works go over before its memory: QEMU mirrors each into the target's QEMU, over a connection of the
//! two agents, and from then on the guest's writes are on both sides before they are answered. QEMU's own TLS is not used: it
//! runs in the thread that also serves the guest. Main type: [`Mirroring`]; on the target [`make_images`].

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{CopyProgress, CopyRole, MirrorReport, MirroredDisk, Offer};
use domain::{Disk, Domain};
use migration::journal::{Carried, Offline};
use qemu::mirror::{MirrorError, Mirrors, Told};
use qemu::process::Process;
use storage::{DiskKind, ImageFormat, TransferError};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};
use tokio_util::io::InspectReader;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::source::Live;
use super::watch::{Waited, Watch, ticks};
use crate::disks::path_of;
use crate::failure::{CarryFailure, Failure};
use crate::guest::GuestRecord;
use crate::limits::{MIRROR_BEGIN_TIMEOUT, PROGRESS_EVERY};
use crate::node::Node;

/// Disks that are equal on both sides, and stay so. They break off when this is dropped.
pub(crate) struct Mirroring {
    mirrors: Mirrors,
    ways: Vec<AbortOnDropHandle<()>>,
    sent_bytes: Arc<AtomicU64>,
}

/// Lets all disks go over that go with the guest, and waits until they are equal; nothing where none goes.
pub(crate) async fn mirror(live: &Live, watch: &mut Watch) -> Result<Option<Mirroring>, Failure> {
    let Some(mirrored) = &live.mirrored else { return Ok(None) };
    let process = live.process.as_ref().ok_or(Failure::SourceQemuGone)?;
    let capabilities = live.begun.node.capabilities(&live.record.emulator).await?;
    let began = Instant::now();
    let sent_bytes = Arc::new(AtomicU64::new(0));
    let mut mirroring = Mirroring {
        mirrors: Mirrors::new(&process.qmp, &capabilities),
        ways: Vec::new(),
        sent_bytes: Arc::clone(&sent_bytes),
    };
    let copying = async {
        let disks = disks(live.definition.domain(), &mirrored.disk_names());
        let share = mirrored.bandwidth_bytes_per_s.div_ceil(disks.len().max(1) as u64);
        for disk in disks {
            mirroring.add(live, disk, share).await?;
        }
        mirroring.mirrors.synchronize().await.map_err(|error| broken(live, error))?;
        Ok(mirroring)
    };
    let copied = tokio::select! {
        copied = copying => copied,
        failure = failed(watch) => Err(failure),
        () = show(live, process, mirrored, &sent_bytes) => unreachable!("it shows figures for ever"),
    };
    let mirroring = copied?;
    let report = MirrorReport {
        disks: mirrored.files.iter().filter_map(mirrored_disk).collect(),
        sent_bytes: sent_bytes.load(Ordering::Relaxed),
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    live.begun.tracker.record(|told| told.mirrored = Some(report));
    live.begun.tracker.note("all disks are equal on both hosts, and stay so");
    Ok(Some(mirroring))
}

fn mirrored_disk(carried: &Carried) -> Option<MirroredDisk> {
    let disk = carried.file.role.disk()?.clone();
    Some(MirroredDisk { disk, from: carried.from.clone(), to: carried.file.path.clone() })
}

impl Mirroring {
    /// Lets one disk go over.
    async fn add(&mut self, live: &Live, disk: &Disk, bandwidth_bytes_per_s: u64) -> Result<(), Failure> {
        let client = live.begun.node.neighbours.client(&live.target)?;
        let way = client.disk_way(live.begun.tracker.id()).await;
        let way = way.map_err(|error| Failure::of_host(&live.target, error))?;
        let (ours, qemus) = UnixStream::pair().map_err(CarryFailure::Way)?;
        let (name, sent) = (disk.target.clone(), Arc::clone(&self.sent_bytes));
        let ours = InspectReader::new(ours, move |bytes: &[u8]| {
            sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        });
        self.ways.push(AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = way.carry(ours).await {
                tracing::debug!(disk = name, %error, "a disk's way broke");
            }
        })));
        let qemus = qemus.into_std().map_err(CarryFailure::Way)?;
        let begun =
            timeout(MIRROR_BEGIN_TIMEOUT, self.mirrors.add(disk, qemus.into(), bandwidth_bytes_per_s));
        let silent =
            |_elapsed| CarryFailure::Silent { disk: disk.target.clone(), after: MIRROR_BEGIN_TIMEOUT };
        begun.await.map_err(silent)?.map_err(|error| broken(live, error))
    }

    /// The guest has stopped: both sides become equal for good, and the target is let go of.
    pub(crate) async fn finish(self, live: &Live, watch: &mut Watch) -> Result<(), Failure> {
        tokio::select! {
            finished = self.mirrors.finish() => finished.map_err(|error| broken(live, error)),
            failure = failed(watch) => Err(failure),
        }
    }
}

/// The failure that a mirror's end is.
pub(crate) fn broken_off(live: &Live, disk: String, told: Told) -> Option<Failure> {
    Some(broken(live, told.error(disk)?))
}

fn broken(live: &Live, error: MirrorError) -> Failure {
    let MirrorError::Unreadable { disk } = error else { return CarryFailure::from(error).into() };
    let is_it = |it: &&Disk| it.target == disk;
    let path = live.definition.domain().disks.iter().find(is_it).and_then(path_of);
    CarryFailure::Unreadable { path: path.map(Path::to_owned).unwrap_or_default(), disk }.into()
}

/// What else ends the migration.
async fn failed(watch: &mut Watch) -> Failure {
    loop {
        if let Waited::Failed(failure) = watch.next().await {
            return failure;
        }
    }
}

/// Shows figures. It never ends.
async fn show(live: &Live, process: &Process, mirrored: &Offline, sent_bytes: &AtomicU64) {
    let mut ticks = ticks(PROGRESS_EVERY);
    let (began, mut from) = (Instant::now(), None);
    loop {
        ticks.tick().await;
        let Ok(disks) = qemu::mirror::progress(&process.qmp).await else { continue };
        let Some(under_way) = disks.iter().find(|disk| disk.done_bytes < disk.total_bytes).or(disks.first())
        else {
            continue;
        };
        let done_bytes = disks.iter().map(|disk| disk.done_bytes).sum();
        let total_bytes: u64 = disks.iter().map(|disk| disk.total_bytes).sum();
        let from_bytes: u64 = *from.get_or_insert(done_bytes);
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let rate = ((done_bytes - from_bytes.min(done_bytes)) * 1000).checked_div(elapsed_ms).unwrap_or(0);
        let is_it = |name: &String| *name == under_way.disk;
        let file = mirrored.files.iter().find(|carried| carried.file.role.disk().is_some_and(is_it));
        live.begun.tracker.copying(CopyProgress {
            file: file.map_or_else(|| under_way.disk.clone(), |carried| carried.from.clone()),
            done_bytes,
            total_bytes,
            sent_bytes: sent_bytes.load(Ordering::Relaxed),
            rate_bytes_per_s: rate,
            left_ms: (total_bytes.saturating_sub(done_bytes) * 1000).checked_div(rate),
            level: 0,
            elapsed_ms: 0,
        });
    }
}

/// The disks of a domain that have one of these names.
fn disks<'a>(domain: &'a Domain, names: &[String]) -> Vec<&'a Disk> {
    domain.disks.iter().filter(|disk| names.contains(&disk.target)).collect()
}

/// Target: where its QEMU takes disks in.
pub(crate) fn socket(node: &Node, domain: Uuid) -> PathBuf {
    node.store.run_directory(domain).join("disks.sock")
}

/// Target: the disks that are to come with a guest that works, by the offer; none where none do. One that goes onto a device
/// is marked: there is nothing to make, and nothing to remove. Whatever is refused is refused here, before the journal names images
/// that a later agent would remove.
pub(crate) async fn coming(
    node: &Node,
    offer: &Offer,
    older: &BTreeSet<PathBuf>,
) -> Result<Option<Offline>, Failure> {
    if offer.offline || offer.files.is_empty() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for file in &offer.files {
        let path = PathBuf::from(&file.path);
        if !node.allows(&path) || storage::is_over_nfs(&path) {
            return Err(Failure::PathNotAllowed { path, allowed: node.config.allowed_paths.clone() });
        }
        let there = storage::open_check(&path, false).await.ok().map(|disk| disk.kind);
        let over = there == Some(DiskKind::BlockDevice);
        let raw = matches!(&file.role, CopyRole::Disk { format, .. } if format == "raw");
        // Nobody makes an image on a device.
        if file.role.disk().is_none() || over && !raw {
            return Err(CarryFailure::NotWhileRunning { path }.into());
        }
        if there == Some(DiskKind::File) && !older.contains(&path) {
            return Err(CarryFailure::from(TransferError::Exists { path }).into());
        }
        files.push(Carried { from: String::new(), file: file.clone(), over, kept: None });
    }
    Ok(Some(Offline { files, ..Offline::default() }))
}

/// Target: what its arrival has made or was about to make, where nothing else is left of a guest than its journal.
pub(crate) fn images(mirrored: &Offline) -> Vec<PathBuf> {
    let made = mirrored.files.iter().filter(|carried| !carried.over);
    made.map(|carried| PathBuf::from(&carried.file.path)).collect()
}

/// Target: makes the images that the disks go into, empty. Those that it has made are in `record`, also when one fails; what an
/// earlier stay of the domain has left there is replaced.
pub(crate) async fn make_images(
    mirrored: &Offline,
    older: &BTreeSet<PathBuf>,
    record: &mut GuestRecord,
) -> Result<(), Failure> {
    record.copied = mirrored.disk_names();
    for Carried { file, .. } in mirrored.files.iter().filter(|carried| !carried.over) {
        let path = PathBuf::from(&file.path);
        if older.contains(&path) && storage::open_check(&path, false).await.is_ok() {
            storage::remove(&path).await?;
        }
        let qcow2 = matches!(&file.role, CopyRole::Disk { format, .. } if format == "qcow2");
        let format = if qcow2 { ImageFormat::Qcow2 } else { ImageFormat::Raw };
        storage::create(&path, file.length_bytes, format).await?;
        record.made.push(path);
    }
    Ok(())
}

/// Target: lets QEMU take in the disks that go with the guest, if any do.
pub(crate) async fn take(
    node: &Node,
    domain: &Domain,
    record: &GuestRecord,
    process: &Process,
) -> Result<(), Failure> {
    let disks = disks(domain, &record.copied);
    if disks.is_empty() {
        return Ok(());
    }
    let socket = socket(node, record.uuid);
    Ok(qemu::mirror::export(&process.qmp, &disks, &socket).await.map_err(CarryFailure::from)?)
}

/// Target: the disks that came are the guest's alone from now on. QEMU refuses `cont` as long as they are not.
pub(crate) async fn give(process: &Process, domain: &Domain, record: &GuestRecord) {
    if let Err(error) = qemu::mirror::withdraw(&process.qmp, &disks(domain, &record.copied)).await {
        tracing::error!("the guest cannot have its disks: {}", crate::failure::chain(&error));
    }
}

/// Target: whether an owner record lies beside a disk that came with the guest: what it says is about an older copy, if it is
/// there at all.
pub(crate) fn came_with(domain: &Domain, record: &GuestRecord, owner_record: &Path) -> bool {
    let mut places = disks(domain, &record.copied).into_iter().filter_map(path_of);
    places.any(|place| storage::owner_path(place) == owner_record)
}
