//! `DELETE /domains/{domain}/snapshots/{snapshot}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::snapshot;

/// Forgets a snapshot on every disk that has it.
#[utoipa::path(delete, path = "/domains/{domain}/snapshots/{snapshot}", tag = "snapshots",
    params(("domain" = String, Path, description = "name or UUID"), ("snapshot" = String, Path, description = "its name")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn delete(
    State(node): State<Arc<Node>>,
    Path((domain, name)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    finish(async move { snapshot::delete(&node, &domain, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
