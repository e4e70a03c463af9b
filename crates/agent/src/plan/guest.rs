//! A guest as a plan sees it: how much of its memory is in use, and how it writes. It changes nothing about it. Main functions:
//! [`watch`], which takes some seconds; [`Glance::begin`], which takes what there is time for.

use std::sync::Arc;

use api::GuestWrites;
use migration::plan::writes::{Window, Writes};
use qemu::capabilities::Capabilities;
use qemu::command::{QueryKvm, QueryMemorySizeSummary};
use qemu::dirty_rate::{self, Written};
use qemu::guest_memory::{Changed, Look, LookError};
use qemu::process::Process;
use tokio::time::sleep;

use crate::failure::{Failure, chain};
use crate::limits::GLANCES;
use crate::store::blocking;

/// What was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) memory_bytes: u64,
    /// All of it where that cannot be seen.
    pub(super) used_bytes: u64,
    pub(super) writes: Option<GuestWrites>,
}

/// Looks, and has QEMU measure how fast the guest writes.
pub(super) async fn watch(process: &Process, capabilities: &Capabilities) -> Result<Seen, Failure> {
    let memory_bytes = memory_bytes(process).await?;
    let kvm = process.qmp.execute(QueryKvm).await?.enabled;
    let look = first(process, memory_bytes).await;
    let windows = dirty_rate::measure(&process.qmp, capabilities, kvm, memory_bytes).await;
    let windows = windows.inspect_err(|error| tracing::info!("{}", chain(error))).ok();
    let used_bytes = look.as_ref().map_or(memory_bytes, |look| look.used_bytes());
    let delta = match look {
        Some(look) => again(look).await.and_then(|changed| changed.delta),
        None => None,
    };
    let writes = windows.map(|[short, long]| writes(short, long, used_bytes, delta));
    Ok(Seen { memory_bytes, used_bytes, writes })
}

/// A look in passing: its windows are as long as there is time.
pub(super) struct Glance {
    memory_bytes: u64,
    look: Option<Arc<Look>>,
    /// What was measured for a plan before.
    known: Option<GuestWrites>,
    changed: Vec<Changed>,
}

impl Glance {
    pub(super) async fn begin(process: &Process, known: Option<GuestWrites>) -> Result<Glance, Failure> {
        let memory_bytes = memory_bytes(process).await?;
        let look = first(process, memory_bytes).await;
        Ok(Glance { memory_bytes, look, known, changed: Vec::new() })
    }

    /// Looks once more, a little later; whether there was something to look at, and anything to learn.
    pub(super) async fn again(&mut self) -> bool {
        let (Some(look), Some(after), None) = (&self.look, GLANCES.get(self.changed.len()), self.known)
        else {
            return false;
        };
        sleep(*after).await;
        match again(Arc::clone(look)).await {
            Some(changed) => self.changed.push(changed),
            None => self.look = None,
        }
        self.look.is_some()
    }

    pub(super) fn seen(&self) -> Seen {
        let memory_bytes = self.memory_bytes;
        let used_bytes = self.look.as_ref().map_or(memory_bytes, |look| look.used_bytes());
        let seen = match self.changed[..] {
            [] => None,
            // One window alone shows no set: as if nothing was written twice.
            [only] => {
                Some((Written { window: only.written.window / 2, bytes: only.written.bytes / 2 }, only))
            }
            [short, .., long] => Some((short.written, long)),
        };
        let seen = seen.map(|(short, long)| writes(short, long.written, used_bytes, long.delta));
        Seen { memory_bytes, used_bytes, writes: self.known.or(seen) }
    }
}

async fn memory_bytes(process: &Process) -> Result<u64, Failure> {
    let size = process.qmp.execute(QueryMemorySizeSummary).await?;
    Ok(size.base_memory + size.plugged_memory.unwrap_or(0))
}

async fn first(process: &Process, memory_bytes: u64) -> Option<Arc<Look>> {
    let pid = process.pid();
    told(blocking(move || Look::first(pid, memory_bytes)).await).map(Arc::new)
}

async fn again(look: Arc<Look>) -> Option<Changed> {
    told(blocking(move || look.again()).await)
}

/// What cannot be seen is not waited for.
fn told<T>(seen: Result<T, LookError>) -> Option<T> {
    seen.inspect_err(|error| tracing::info!("a guest's memory is not seen: {}", chain(error))).ok()
}

fn writes(short: Written, long: Written, used_bytes: u64, delta: Option<f64>) -> GuestWrites {
    let window = |it: Written| Window { seconds: it.window.as_secs_f64(), bytes: it.bytes as f64 };
    let writes = Writes::of(window(short), window(long), used_bytes as f64);
    GuestWrites {
        bytes_per_s: writes.bytes_per_s as u64,
        set_bytes: writes.set_bytes as u64,
        delta_percent: delta.map(|share| (share * 100.0).ceil().clamp(1.0, 100.0) as u8),
    }
}
