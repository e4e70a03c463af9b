//! What only other agents ask, one a file. Where it is about a migration, each checks that the asker is the other side of
//! that very one.

pub(super) mod abandon;
pub(super) mod admit;
pub(super) mod bridges;
pub(super) mod check;
pub(super) mod disks;
pub(super) mod files;
pub(super) mod link;
pub(super) mod listen;
pub(super) mod offer;
pub(super) mod pledge;
pub(super) mod pools;
pub(super) mod relocate;
pub(super) mod renew;
pub(super) mod room;
pub(super) mod roster;
pub(super) mod settlement;
pub(super) mod status;
pub(super) mod turn;
pub(super) mod verified;
pub(super) mod volumes;

use api::{MigrationPhase, Role, Verdict};
use uuid::Uuid;

use crate::failure::{Failure, RequestFailure};
use crate::http::asker::Asker;
use crate::node::Node;
use crate::tracker::Tracker;

/// The host that asks, where it has joined and this one keeps the list.
fn member(node: &Node, asker: &Asker) -> Result<String, Failure> {
    let hosts = node.neighbours.hosts();
    let member = hosts.members().find(|member| asker.is_host(&member.name));
    member.map(|member| member.name.clone()).ok_or_else(|| Failure::HostUnknown {
        host: asker.name().to_owned(),
        here: node.config.host.clone(),
        known: hosts.members().map(|member| member.name.clone()).collect(),
    })
}

/// The migration, where `asker` is its other side and this host is its `role`.
fn party(node: &Node, asker: &Asker, id: Uuid, role: Role) -> Result<(Uuid, Tracker), Failure> {
    let (domain, tracker) = node.migration(id)?;
    let migration = tracker.migration();
    if migration.role != role {
        return Err(Failure::WrongSide {
            role: if migration.role == Role::Source { "source" } else { "target" },
        });
    }
    let other = match role {
        Role::Source => migration.report.target,
        Role::Target => migration.report.source,
    };
    if !asker.is_host(&other) {
        return Err(RequestFailure::NotAnAgent.into());
    }
    Ok((domain, tracker))
}

/// The verdict of a target that has ended: the same answer for every repetition of a question.
fn verdict(tracker: &Tracker) -> Option<Verdict> {
    let report = tracker.migration().report;
    let reason = report.reason.unwrap_or_default();
    match report.phase {
        MigrationPhase::Running => Some(Verdict::Running { resumed_at: report.downtime.target_resumed_at }),
        MigrationPhase::Refused => Some(Verdict::Refused { reason }),
        MigrationPhase::Lost => Some(Verdict::Lost { reason }),
        MigrationPhase::Planned
        | MigrationPhase::Reserved
        | MigrationPhase::Streaming
        | MigrationPhase::Stopped
        | MigrationPhase::Pledged
        | MigrationPhase::Serving
        | MigrationPhase::Moved
        | MigrationPhase::Kept
        | MigrationPhase::InDoubt
        | MigrationPhase::Offered
        | MigrationPhase::Prepared
        | MigrationPhase::Receiving
        | MigrationPhase::Loaded
        | MigrationPhase::Granted
        | MigrationPhase::Filling => None,
    }
}
