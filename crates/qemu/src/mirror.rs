//! Disks that go over while the guest writes to them: one QEMU mirrors them into another one.
//!
//! ```text
//! source                                               target (-incoming)
//!                                                      export: the image opened once more, served over NBD
//! Mirrors::add          ◄── a connection of the caller's making ──►
//!   BLOCK_JOB_READY     it has come to the end once
//! Mirrors::synchronize  from now on, or from when all has gone over once that was there at first,
//!                       the guest's writes are answered when they are on both sides
//!   (memory goes over, the CPUs stop)
//! Mirrors::finish       the last writes, a flush: both sides are equal
//!   BLOCK_JOB_COMPLETED
//!   (migrate-continue)
//!                                                      withdraw: the image belongs to the guest's own node again
//!                                                      cont
//! ```
//!
//! The guest on the source never uses anything but its own disks, so a mirror that fails at whatever moment costs it nothing.
//! On the target the guest's own nodes are inactive until `cont`, as if another host still wrote to the image, and that is
//! what a copy looks like to them: a second opening of the same file. QEMU's image lock refuses `cont` while it is there.
//!
//! Seen with QEMU 10.0.2: a job that waits for a Unix socket to take more is woken by nothing but the *close* of the other
//! end; `yank` shuts the socket down, which does not make it writable. So whoever gives up closes the connections first.
//!
//! Here is no policy, and no network: connections are made and encrypted elsewhere. The main type is [`Mirrors`].

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use domain::Disk;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::capabilities::Capabilities;
use crate::command::{
    BlockExportAdd, BlockJob, BlockJobCancel, BlockJobChange, BlockJobSetSpeed, BlockdevAdd, BlockdevDel,
    BlockdevMirror, CloseFd, ExportType, GetFd, JobType, MirrorCopyMode, MirrorSync, NbdAddress,
    NbdServerStart, NbdServerStop, QueryBlockJobs, QueryNamedBlockNodes,
};
use crate::command_line::{copy, top_node};
use crate::limits;
use crate::migrate::{Events, EventsError, What};
use crate::qmp::{Event, Qmp, QmpError};

/// What the ids of all jobs and nodes here begin with on a source; the disk's target follows.
const PREFIX: &str = "mirror-";

fn name(disk: &str) -> String {
    format!("{PREFIX}{disk}")
}

/// Why disks cannot be taken in, or not be given back to their guest.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// QEMU refused a step of one disk.
    #[error("could not {step} disk {disk} for its copy")]
    Disk {
        /// Its target.
        disk: String,
        /// Which step.
        step: &'static str,
        /// Why.
        #[source]
        source: QmpError,
    },
    /// QEMU refused to listen, or to stop.
    #[error("could not {step} the NBD server on {}", socket.display())]
    Server {
        /// Which step.
        step: &'static str,
        /// Where.
        socket: std::path::PathBuf,
        /// Why.
        #[source]
        source: QmpError,
    },
    /// QEMU is gone.
    #[error("could not see what disks are open")]
    Ask(#[source] QmpError),
    /// A node could not be deleted.
    #[error("{node} is still open in QEMU, so its guest cannot have the disk")]
    Open {
        /// Its name.
        node: String,
    },
}

/// Target: opens the images of disks once more and serves them, each under its target's name, on a Unix socket that QEMU
/// makes. The images are there, of the right size. What was opened is closed when a step fails.
pub async fn export(qmp: &Qmp, disks: &[&Disk], socket: &Path) -> Result<(), ExportError> {
    let exported = try_export(qmp, disks, socket).await;
    if exported.is_err()
        && let Err(error) = withdraw(qmp, disks).await
    {
        tracing::warn!(%error, "a copy that did not begin is not closed");
    }
    exported
}

async fn try_export(qmp: &Qmp, disks: &[&Disk], socket: &Path) -> Result<(), ExportError> {
    let start = NbdServerStart {
        addr: NbdAddress::Unix { path: socket.to_owned() },
        max_connections: u32::try_from(disks.len()).unwrap_or(u32::MAX),
    };
    let refused = |source| ExportError::Server { step: "start", socket: socket.to_owned(), source };
    qmp.execute(start).await.map_err(refused)?;
    for disk in disks {
        let step = |step| move |source| ExportError::Disk { disk: disk.target.clone(), step, source };
        let nodes = copy(disk);
        for node in &nodes {
            qmp.execute(BlockdevAdd { options: node.options() }).await.map_err(step("open"))?;
        }
        let Some(top) = nodes.last() else { continue };
        let export = BlockExportAdd {
            kind: ExportType::Nbd,
            id: top.node_name.clone(),
            node_name: top.node_name.clone(),
            name: disk.target.clone(),
            writable: true,
        };
        qmp.execute(export).await.map_err(step("export"))?;
    }
    Ok(())
}

/// Target: stops serving, and closes the images, so that the guest can have them. To be repeated at will. An error says that
/// an image is still open; QEMU would refuse `cont` then.
pub async fn withdraw(qmp: &Qmp, disks: &[&Disk]) -> Result<(), ExportError> {
    // Refused where there is none any more; what counts is that the nodes go.
    let mut refused = qmp.execute(NbdServerStop).await.is_err();
    let names: Vec<_> =
        disks.iter().flat_map(|disk| copy(disk).into_iter().rev().map(|node| node.node_name)).collect();
    for node_name in &names {
        refused |= qmp.execute(BlockdevDel { node_name: node_name.clone() }).await.is_err();
    }
    if !refused {
        return Ok(());
    }
    let open = node_names(qmp).await.map_err(ExportError::Ask)?;
    match names.into_iter().find(|name| open.contains(name)) {
        Some(node) => Err(ExportError::Open { node }),
        None => Ok(()),
    }
}

async fn node_names(qmp: &Qmp) -> Result<BTreeSet<String>, QmpError> {
    let nodes = qmp.execute(QueryNamedBlockNodes { flat: true }).await?;
    Ok(nodes.into_iter().filter_map(|node| node.node_name).collect())
}

/// Why disks do not go over.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// An empty drive.
    #[error("disk {disk} has no image that could be copied")]
    Empty {
        /// Its target.
        disk: String,
    },
    /// QEMU refused a step.
    #[error("could not {step} disk {disk}")]
    Step {
        /// Its target.
        disk: String,
        /// Which step.
        step: &'static str,
        /// Why.
        #[source]
        source: QmpError,
    },
    /// A read here failed; QEMU does not tell where.
    #[error("disk {disk} could not be read")]
    Unreadable {
        /// Its target.
        disk: String,
    },
    /// A write or the connection there failed.
    #[error("the copy of disk {disk} broke off: {reason}")]
    Failed {
        /// Its target.
        disk: String,
        /// QEMU's words.
        reason: String,
    },
    /// Somebody else ended it.
    #[error("the copy of disk {disk} was cancelled")]
    Cancelled {
        /// Its target.
        disk: String,
    },
    /// QEMU is gone, or its events came too fast.
    #[error("nothing more is heard of the copies")]
    Events(#[from] EventsError),
    /// QEMU does not answer.
    #[error("QEMU does not say how far the copies are")]
    Ask(#[source] QmpError),
    /// The last writes take too long.
    #[error("both sides were not equal within {after:?}")]
    TimedOut {
        /// How long was waited.
        after: std::time::Duration,
    },
}

/// What QEMU tells of a mirror by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It has come to the end once.
    Ready,
    /// It has ended, and both sides are equal.
    Equal,
    /// Something of it could not be read, so that it breaks off.
    Unreadable,
    /// It broke off.
    Failed {
        /// QEMU's words.
        reason: String,
    },
    /// It was ended before it was ready, or by force.
    Cancelled,
}

impl Told {
    /// The error that it is for a disk that was to go over; none where it is [`Told::Ready`].
    #[must_use]
    pub fn error(self, disk: String) -> Option<MirrorError> {
        match self {
            Told::Ready => None,
            Told::Unreadable => Some(MirrorError::Unreadable { disk }),
            Told::Failed { reason } => Some(MirrorError::Failed { disk, reason }),
            Told::Equal | Told::Cancelled => Some(MirrorError::Cancelled { disk }),
        }
    }
}

/// What an event says of which disk's mirror, if it is about one.
pub(crate) fn told(event: &Event) -> Option<(String, Told)> {
    #[derive(Deserialize)]
    struct Job {
        device: String,
        error: Option<String>,
        operation: Option<String>,
    }
    let job: Job = serde_json::from_value(event.data.clone()).ok()?;
    let disk = job.device.strip_prefix(PREFIX)?.to_owned();
    let told = match (event.name.as_str(), job.error) {
        ("BLOCK_JOB_READY", _) => Told::Ready,
        ("BLOCK_JOB_COMPLETED", None) => Told::Equal,
        ("BLOCK_JOB_COMPLETED", Some(reason)) => Told::Failed { reason },
        ("BLOCK_JOB_CANCELLED", _) => Told::Cancelled,
        // Of a write that failed the end says more.
        ("BLOCK_JOB_ERROR", _) if job.operation.as_deref() == Some("read") => Told::Unreadable,
        _ => return None,
    };
    Some((disk, told))
}

/// How far one disk is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Its target.
    pub disk: String,
    /// Bytes that have gone over.
    pub done_bytes: u64,
    /// Bytes that have or will: grows while the guest writes.
    pub total_bytes: u64,
}

/// Source: the disks that go over together. Dropping it ends nothing: [`abort`] does.
#[derive(Debug)]
pub struct Mirrors {
    qmp: Qmp,
    events: Events,
    disks: Vec<Mirrored>,
    /// For all of them together; 0 is without limit.
    speed: u64,
    /// Whether this QEMU can switch to [`MirrorCopyMode::WriteBlocking`] (from 8.2 on); else it does so from the start.
    can_change: bool,
}

/// A disk that goes over.
#[derive(Debug)]
struct Mirrored {
    disk: String,
    /// What was to be done when it was looked at for the first time.
    first_bytes: Option<u64>,
    /// Whether the guest's writes wait for the target.
    blocks_writes: bool,
}

impl Mirrors {
    /// No disk yet.
    pub fn new(qmp: &Qmp, capabilities: &Capabilities) -> Self {
        let can_change = capabilities.has_command("block-job-change");
        Self { qmp: qmp.clone(), events: Events::of(qmp), disks: Vec::new(), speed: 0, can_change }
    }

    /// Lets a disk go over. `connection` leads to where the target serves it, and answers: QEMU agrees with the server
    /// before it does anything else. `speed` is in bytes per second, 0 without limit; a disk that is ready leaves its own to
    /// those that are not. When a step fails nothing is left of it.
    pub async fn add(&mut self, disk: &Disk, connection: OwnedFd, speed: u64) -> Result<(), MirrorError> {
        let device = top_node(disk).ok_or_else(|| MirrorError::Empty { disk: disk.target.clone() })?;
        let name = name(&disk.target);
        let step = |step| move |source| MirrorError::Step { disk: disk.target.clone(), step, source };
        let give = GetFd { fdname: name.clone() };
        self.qmp
            .execute_with_fds(give, vec![connection])
            .await
            .map_err(step("pass on the connection for"))?;
        if let Err(source) = self.qmp.execute(BlockdevAdd { options: client_node(&name, &disk.target) }).await
        {
            // Refused where QEMU had taken the descriptor before it failed.
            _ = self.qmp.execute(CloseFd { fdname: name }).await;
            return Err(step("reach the target's image of")(source));
        }
        let copy_mode = match self.can_change {
            true => MirrorCopyMode::Background,
            false => MirrorCopyMode::WriteBlocking,
        };
        let (job_id, target) = (name.clone(), name.clone());
        let mirror = BlockdevMirror { job_id, device, target, sync: MirrorSync::Full, speed, copy_mode };
        if let Err(source) = self.qmp.execute(mirror).await {
            if let Err(error) = self.qmp.execute(BlockdevDel { node_name: name }).await {
                tracing::warn!(%error, "the target's image stays open in a QEMU that does not mirror to it");
            }
            return Err(step("begin to copy")(source));
        }
        self.speed += speed;
        let blocks_writes = !self.can_change;
        self.disks.push(Mirrored { disk: disk.target.clone(), first_bytes: None, blocks_writes });
        Ok(())
    }

    /// Waits until all disks have come to the end once, and until every write of the guest is answered only when it is on both
    /// sides. That takes as long as it takes: the caller gives up, not this. Not cancel safe: it cannot be waited for again.
    pub async fn synchronize(&mut self) -> Result<(), MirrorError> {
        let mut waited = self.names();
        while !waited.is_empty() {
            match timeout(limits::MIRROR_LOOK, self.ready()).await {
                Ok(disk) => {
                    waited.remove(&disk?);
                    self.share(&waited).await;
                }
                Err(_elapsed) => self.keep_up().await?,
            }
        }
        for mirrored in &mut self.disks {
            block_writes(&self.qmp, mirrored).await?;
        }
        if !self.can_change {
            return Ok(());
        }
        // A job that is missing has ended, and an event says how.
        while self.jobs().await?.iter().filter(|job| job.actively_synced == Some(true)).count()
            < self.disks.len()
        {
            tokio::select! {
                () = sleep(limits::MIRROR_PAUSE) => {}
                ready = self.ready() => { ready?; }
            }
        }
        Ok(())
    }

    /// Divides all the speed among disks that are not ready.
    async fn share(&self, waited: &BTreeSet<String>) {
        let count = u64::try_from(waited.len()).unwrap_or(u64::MAX);
        let Some(speed) = self.speed.checked_div(count).filter(|_| self.speed > 0) else { return };
        for disk in waited {
            // Refused where it has just ended, which an event tells.
            _ = self.qmp.execute(BlockJobSetSpeed { device: name(disk), speed: speed.max(1) }).await;
        }
    }

    /// A guest that writes faster than its disk goes over would keep it from ever being ready: once all has gone over that was
    /// there at first, its writes wait for the target.
    async fn keep_up(&mut self) -> Result<(), MirrorError> {
        for job in self.jobs().await? {
            let its = |mirrored: &&mut Mirrored| name(&mirrored.disk) == job.device;
            let Some(mirrored) = self.disks.iter_mut().find(its) else { continue };
            // Nothing is known before QEMU has looked where there is something.
            if job.len > 0 && job.offset >= *mirrored.first_bytes.get_or_insert(job.len) {
                block_writes(&self.qmp, mirrored).await?;
            }
        }
        Ok(())
    }

    fn names(&self) -> BTreeSet<String> {
        self.disks.iter().map(|mirrored| mirrored.disk.clone()).collect()
    }

    /// Makes both sides equal and lets go of the target. The CPUs have stopped, and [`synchronize`](Self::synchronize) has come
    /// to its end. An error says that both sides may differ.
    pub async fn finish(mut self) -> Result<(), MirrorError> {
        let after = limits::MIRROR_FINISH_TIMEOUT;
        timeout(after, self.end()).await.map_err(|_elapsed| MirrorError::TimedOut { after })?
    }

    async fn end(&mut self) -> Result<(), MirrorError> {
        for Mirrored { disk, .. } in &self.disks {
            let cancel = BlockJobCancel { device: name(disk), force: false };
            let step = |source| MirrorError::Step { disk: disk.clone(), step: "end the copy of", source };
            self.qmp.execute(cancel).await.map_err(step)?;
        }
        let mut waited = self.names();
        while !waited.is_empty() {
            let (disk, told) = self.events.find(mirror).await?;
            if told == Told::Equal {
                waited.remove(&disk);
            } else if let Some(error) = told.error(disk) {
                return Err(error);
            }
        }
        for Mirrored { disk, .. } in &self.disks {
            let step = |source| MirrorError::Step { disk: disk.clone(), step: "let go of", source };
            self.qmp.execute(BlockdevDel { node_name: name(disk) }).await.map_err(step)?;
        }
        Ok(())
    }

    /// The disk that is ready next; an end is an error. Cancel safe.
    async fn ready(&mut self) -> Result<String, MirrorError> {
        let (disk, told) = self.events.find(mirror).await?;
        told.error(disk.clone()).map_or(Ok(disk), Err)
    }

    async fn jobs(&self) -> Result<Vec<BlockJob>, MirrorError> {
        jobs(&self.qmp).await.map_err(MirrorError::Ask)
    }
}

/// From now on the guest's writes are answered when they are on both sides.
async fn block_writes(qmp: &Qmp, mirrored: &mut Mirrored) -> Result<(), MirrorError> {
    if mirrored.blocks_writes {
        return Ok(());
    }
    let disk = &mirrored.disk;
    let copy_mode = MirrorCopyMode::WriteBlocking;
    let change = BlockJobChange { id: name(disk), kind: JobType::Mirror, copy_mode };
    let step = |source| MirrorError::Step { disk: disk.clone(), step: "keep both sides equal of", source };
    qmp.execute(change).await.map_err(step)?;
    mirrored.blocks_writes = true;
    Ok(())
}

fn mirror(happened: &crate::migrate::Happened) -> Option<(String, Told)> {
    match &happened.what {
        What::Mirror { disk, told } => Some((disk.clone(), told.clone())),
        _ => None,
    }
}

/// Source: how far all disks are.
///
/// # Errors
/// As [`Qmp::execute`].
pub async fn progress(qmp: &Qmp) -> Result<Vec<Progress>, QmpError> {
    let progress = |job: BlockJob| Progress {
        disk: job.device.trim_start_matches(PREFIX).to_owned(),
        done_bytes: job.offset,
        total_bytes: job.len,
    };
    Ok(jobs(qmp).await?.into_iter().map(progress).collect())
}

async fn jobs(qmp: &Qmp) -> Result<Vec<BlockJob>, QmpError> {
    let jobs = qmp.execute(QueryBlockJobs).await?;
    Ok(jobs.into_iter().filter(|job| job.device.starts_with(PREFIX)).collect())
}

/// The target's image as the source's QEMU opens it (QAPI `BlockdevOptionsNbd`).
fn client_node(name: &str, export: &str) -> Map<String, Value> {
    let options = json!({
        "driver": "nbd",
        "node-name": name,
        "server": { "type": "fd", "str": name },
        "export": export,
        "discard": "unmap",
    });
    match options {
        Value::Object(options) => options,
        other => unreachable!("it was written as an object: {other}"),
    }
}

/// Why something of the mirrors is left.
#[derive(Debug, thiserror::Error)]
pub enum AbortError {
    /// A job does not end.
    #[error("the copy of a disk does not end within {after:?}; QEMU keeps it until its connection is closed")]
    Stuck {
        /// How long was waited.
        after: std::time::Duration,
    },
    /// QEMU refused.
    #[error("QEMU does not let go of the disks on the target")]
    Refused(#[source] QmpError),
}

/// Source: ends whatever mirrors there are, at once, also those of an agent that is gone. The guest goes on with its own disks.
/// The caller has closed the other ends of their connections before: a job that waits for one of them would not end. To be
/// repeated at will.
pub async fn abort(qmp: &Qmp) -> Result<(), AbortError> {
    for job in jobs(qmp).await.map_err(AbortError::Refused)? {
        // It may have ended since.
        _ = qmp.execute(BlockJobCancel { device: job.device, force: true }).await;
    }
    let over = async {
        while !jobs(qmp).await?.is_empty() {
            sleep(limits::MIRROR_PAUSE).await;
        }
        Ok(())
    };
    let after = limits::MIRROR_ABORT_TIMEOUT;
    timeout(after, over)
        .await
        .map_err(|_elapsed| AbortError::Stuck { after })?
        .map_err(AbortError::Refused)?;
    let mut left = Ok(());
    for node_name in node_names(qmp).await.map_err(AbortError::Refused)? {
        if node_name.starts_with(PREFIX)
            && let Err(error) = qmp.execute(BlockdevDel { node_name }).await
        {
            left = Err(AbortError::Refused(error));
        }
    }
    left
}

#[cfg(test)]
mod tests;
