//! `POST /domains/{domain}/snapshots`.

use std::sync::Arc;

use api::{Snapshot, SnapshotRequest};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::snapshot;

/// Makes a snapshot of every disk of a domain that is shut off.
#[utoipa::path(post, path = "/domains/{domain}/snapshots", tag = "snapshots",
    params(("domain" = String, Path, description = "name or UUID")), request_body = SnapshotRequest,
    responses((status = 201, body = Snapshot), (status = "4XX", body = api::Problem)))]
pub(crate) async fn create(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<SnapshotRequest>,
) -> Result<(StatusCode, Json<Snapshot>), Refusal> {
    let made = finish(async move { snapshot::create(&node, &domain, &request.name).await }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
