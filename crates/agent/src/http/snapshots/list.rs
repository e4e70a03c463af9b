//! `GET /domains/{domain}/snapshots`.

use std::sync::Arc;

use api::Snapshot;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::snapshot;

/// The snapshots of a domain, the oldest first.
#[utoipa::path(get, path = "/domains/{domain}/snapshots", tag = "snapshots",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = Vec<Snapshot>), (status = "4XX", body = api::Problem)))]
pub(crate) async fn list(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<Json<Vec<Snapshot>>, Refusal> {
    Ok(Json(snapshot::list(&node, &domain).await?))
}
