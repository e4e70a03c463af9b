//! What a migration would be like: the guest is looked at, the link is tried, and `migration::plan` says what follows. It changes
//! nothing. Main functions: [`plan`], for whoever asks; [`forecast`], of a guest that is about to leave.

mod guest;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use api::{CheckMode, CheckRequest, MigrationPhase, MigrationRequest, Plan, PlanFacts, Prediction, Severity};
use client::{Client, ClientError};
use migration::convergence::Allowed;
use migration::plan::calibration::{self, Past};
use migration::plan::{Asked, link, predict};
use qemu::migrate::THROTTLE_PERCENT_MAX;
use qemu::process::Process;
use uuid::Uuid;

use crate::failure::{Failure, chain};
use crate::keeper::Ask;
use crate::limits::{
    LINK_GLANCE_BYTES_MAX, LINK_GLANCE_TIME, LINK_PROBE_BYTES_MAX, LINK_PROBE_TIME, WRITES_KEPT_FOR,
};
use crate::node::Node;
use crate::preflight;
use crate::tracker::Tracker;
use guest::Seen;

/// How guests write that were looked at for a plan, for a while.
#[derive(Default)]
pub(crate) struct Plans(Mutex<HashMap<Uuid, (Instant, api::GuestWrites)>>);

impl Plans {
    fn put(&self, domain: Uuid, writes: api::GuestWrites) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (at, _)| at.elapsed() < WRITES_KEPT_FOR);
        known.insert(domain, (Instant::now(), writes));
    }

    /// Once: after a migration it is another host's guest.
    fn take(&self, domain: Uuid) -> Option<api::GuestWrites> {
        let (at, writes) = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&domain)?;
        (at.elapsed() < WRITES_KEPT_FOR).then_some(writes)
    }
}

/// Looks at a guest that works and at the way to a host for some seconds, and says what moving it there would be like.
pub(crate) async fn plan(
    node: Arc<Node>,
    domain: String,
    request: MigrationRequest,
) -> Result<Plan, Failure> {
    let looked = node.ask(&domain, Ask::Look).await?;
    let asked = CheckRequest { mode: Some(CheckMode::Live), ..CheckRequest::of(&request) };
    let check = preflight::check(Arc::clone(&node), domain, asked).await?;
    if check.severity() == Severity::Fail {
        return Ok(Plan { check, prediction: None });
    }
    let capabilities = node.capabilities(&looked.emulator).await?;
    let client = node.neighbours.client(&request.to)?;
    let (seen, tried) = tokio::join!(
        guest::watch(&looked.process, &capabilities),
        try_link(&client, LINK_PROBE_BYTES_MAX, LINK_PROBE_TIME),
    );
    let seen = seen?;
    if let Some(writes) = seen.writes {
        node.plans.put(looked.uuid, writes);
    }
    let prediction = predicted(&node, &request, seen, tried);
    Ok(Plan { check, prediction: Some(prediction) })
}

/// Says in the report of a migration that has just begun what is expected of it, as far as that is known before memory goes over.
/// Nothing waits for it: it looks while the target makes room.
pub(crate) fn forecast(node: Arc<Node>, tracker: Tracker, process: Process, request: MigrationRequest) {
    tokio::spawn(async move {
        let Ok(client) = node.neighbours.client(&request.to) else { return };
        let known = node.plans.take(tracker.migration().report.uuid);
        let (glance, tried) = tokio::join!(
            guest::Glance::begin(&process, known),
            try_link(&client, LINK_GLANCE_BYTES_MAX, LINK_GLANCE_TIME),
        );
        let mut glance = match glance {
            Ok(glance) => glance,
            Err(failure) => return tracing::info!("nothing is predicted: {}", failure.chain()),
        };
        loop {
            let prediction = predicted(&node, &request, glance.seen(), tried);
            tracker.record(|report| {
                if matches!(report.phase, MigrationPhase::Planned | MigrationPhase::Reserved) {
                    report.prediction = Some(Box::new(prediction));
                }
            });
            if !glance.again().await {
                return;
            }
        }
    });
}

/// What the agents' own connection carried.
#[derive(Debug, Clone, Copy)]
struct Tried {
    bytes_per_s: u64,
    round_trip: Duration,
}

/// Tries the way to another agent, over the agents' own encrypted connection; `None` where that cannot be done.
async fn try_link(client: &Client, bytes_max: usize, time: Duration) -> Option<Tried> {
    let trying = async {
        let probed = client.probe_link(bytes_max, time).await?;
        let began = Instant::now();
        client.version().await?;
        Ok::<_, ClientError>((probed, began.elapsed()))
    };
    match trying.await {
        Ok((probed, round_trip)) if probed.received_bytes > 0 && probed.within_us > 0 => {
            let rate = u128::from(probed.received_bytes) * 1_000_000 / u128::from(probed.within_us);
            Some(Tried { bytes_per_s: u64::try_from(rate).unwrap_or(u64::MAX), round_trip })
        }
        Ok(_) => None,
        Err(error) => {
            tracing::info!("the way to {} was not tried: {}", client.address(), chain(&error));
            None
        }
    }
}

fn predicted(node: &Node, request: &MigrationRequest, seen: Seen, tried: Option<Tried>) -> Prediction {
    let (source, target) = (node.config.host.as_str(), request.to.as_str());
    let past: Vec<Past> =
        node.migrations().iter().filter_map(|tracker| calibration::past(&tracker.migration())).collect();
    let same =
        |past: &&Past| past.source == source && past.target == target && past.encrypted != request.plaintext;
    let of_link: Vec<&Past> = past.iter().filter(same).collect();
    let probed = tried.map(|tried| tried.bytes_per_s);
    let (link_bytes_per_s, link_known_by) = link::rate(probed, &of_link, request.bandwidth_bytes_per_s);
    let facts = PlanFacts {
        memory_bytes: seen.memory_bytes,
        used_bytes: seen.used_bytes,
        writes: seen.writes,
        link_bytes_per_s,
        link_known_by,
        round_trip_us: tried.map(|tried| u64::try_from(tried.round_trip.as_micros()).unwrap_or(u64::MAX)),
    };
    predict(&Asked { source, target, facts, allowed: allowed(request) }, &past)
}

/// What a migration may do to come to an end, where QEMU can do it.
pub(crate) fn allowed(request: &MigrationRequest) -> Allowed {
    Allowed {
        blackout_ms: request.blackout_ms_max,
        blackout_bound_ms: request.blackout_bound_ms,
        xbzrle: request.channels <= 1,
        throttle_percent_max: request.throttle_percent_max.min(THROTTLE_PERCENT_MAX),
        deadline: request.deadline_s.map(Duration::from_secs),
        postcopy: false,
    }
}
