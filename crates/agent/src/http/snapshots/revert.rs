//! `POST /domains/{domain}/snapshots/{snapshot}/revert`.

use std::sync::Arc;

use api::Snapshot;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::snapshot;

/// Makes the content of every disk what it was; what was written since is lost.
#[utoipa::path(post, path = "/domains/{domain}/snapshots/{snapshot}/revert", tag = "snapshots",
    params(("domain" = String, Path, description = "name or UUID"), ("snapshot" = String, Path, description = "its name")),
    responses((status = 200, body = Snapshot), (status = "4XX", body = api::Problem)))]
pub(crate) async fn revert(
    State(node): State<Arc<Node>>,
    Path((domain, name)): Path<(String, String)>,
) -> Result<Json<Snapshot>, Refusal> {
    Ok(Json(finish(async move { snapshot::revert(&node, &domain, &name).await }).await?))
}
