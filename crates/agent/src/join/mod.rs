//! How hosts come to know each other: one makes a token, another joins with it, all learn of each other, one is removed.
//!
//! ```text
//! the host that joins                          the issuer: it holds the CA's key
//!                                              `ferry host token`: id, secret, fingerprint of the CA, address
//!   TLS, trusting that CA alone           →
//!   compares both clocks                  ←    GET /version
//!   makes a key; POST /agent/hosts: id, secret, name, address, request for a certificate
//!                                         ←    certificate, CA, roster
//!   each minute: GET /agent/hosts         ←    roster: hosts, and the CA's list of revoked certificates
//!   where its own address is wrong there: PUT /agent/address →
//!   before it ends: POST /agent/certificates ← the next certificate
//!   takes it                              ←    PUT /agent/hosts: a changed roster, to every host
//! ```
//!
//! Main functions: [`issue::token`], [`enter::join`], [`keep::keep_up`].

pub(crate) mod enter;
pub(crate) mod hosts;
pub(crate) mod issue;
pub(crate) mod keep;
pub(crate) mod list;
mod token;

use std::sync::Arc;

use api::Role;
use jiff::Timestamp;

use crate::failure::{Failure, JoinFailure};
use crate::node::Node;
use crate::store::blocking;

/// A time in seconds since 1970 as people and RFC 3339 write it.
pub(crate) fn written(unix_s: i64) -> String {
    Timestamp::from_second(unix_s).map_or_else(|_| unix_s.to_string(), |time| time.to_string())
}

/// Does what reads or writes the files of this host's identity, of the CA and of the hosts that it knows.
async fn with_files<T: Send + 'static>(
    node: &Arc<Node>,
    job: impl FnOnce(&Node) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let node = Arc::clone(node);
    blocking(move || job(&node)).await
}

/// No migration with `host` is under way here, or with any host where none is named. Without certificates that the other side
/// takes, neither side would hear what becomes of it.
fn has_no_migration(node: &Node, host: Option<&str>) -> Result<(), JoinFailure> {
    let unsettled = node.migrations().into_iter().filter(|tracker| !tracker.is_settled());
    for migration in unsettled.map(|tracker| tracker.migration()) {
        let report = migration.report;
        let other = match migration.role {
            Role::Source => report.target,
            Role::Target => report.source,
        };
        if host.is_none_or(|host| host == other) && other != node.config.host {
            let (domain, migration) = (report.domain, report.id);
            return Err(JoinFailure::Migrating { host: other, domain, migration });
        }
    }
    Ok(())
}

/// What this host's clock says, in seconds since 1970.
pub(crate) fn now_s() -> i64 {
    Timestamp::now().as_second()
}
