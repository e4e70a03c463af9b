//! Endpoints of an agent about snapshots, clones and imports. One method an endpoint, no decisions.

use api::{CloneRequest, Domain, ImportRequest, Imported, Snapshot, SnapshotRequest};

use crate::client::{Call, segment};
use crate::domains::path;
use crate::limits::{CLONE_WITHIN, SNAPSHOT_WITHIN};
use crate::{Client, ClientError};

/// Every method fails with [`ClientError`]; a refusal of the agent is [`ClientError::Problem`]. A domain is given
/// by its name or its UUID.
impl Client {
    /// `GET /domains/{domain}/snapshots`: the oldest first.
    pub async fn snapshots(&self, domain: &str) -> Result<Vec<Snapshot>, ClientError> {
        self.json(Call::get(path(domain, "/snapshots"))).await
    }

    /// `POST /domains/{domain}/snapshots`.
    pub async fn create_snapshot(
        &self,
        domain: &str,
        name: impl Into<String>,
    ) -> Result<Snapshot, ClientError> {
        let request = SnapshotRequest { name: name.into() };
        self.json(Call::post(path(domain, "/snapshots")).body(&request).within(SNAPSHOT_WITHIN)).await
    }

    /// `POST /domains/{domain}/snapshots/{snapshot}/revert`.
    pub async fn revert_snapshot(&self, domain: &str, name: &str) -> Result<Snapshot, ClientError> {
        let rest = format!("/snapshots/{}/revert", segment(name));
        self.json(Call::post(path(domain, &rest)).within(SNAPSHOT_WITHIN)).await
    }

    /// `DELETE /domains/{domain}/snapshots/{snapshot}`.
    pub async fn delete_snapshot(&self, domain: &str, name: &str) -> Result<(), ClientError> {
        let rest = format!("/snapshots/{}", segment(name));
        self.done(Call::delete(path(domain, &rest)).within(SNAPSHOT_WITHIN)).await
    }

    /// `POST /domains/{domain}/clone`: answers when the disks are copied.
    pub async fn clone_domain(&self, domain: &str, request: &CloneRequest) -> Result<Domain, ClientError> {
        self.json(Call::post(path(domain, "/clone")).body(request).within(CLONE_WITHIN)).await
    }

    /// `POST /imports`: takes a domain over from the libvirt on the agent's host.
    pub async fn import(&self, request: &ImportRequest) -> Result<Imported, ClientError> {
        self.json(Call::post("/imports").body(request)).await
    }
}
