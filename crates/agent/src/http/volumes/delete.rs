//! `DELETE /pools/{pool}/volumes/{volume}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::volumes;

/// Removes a volume that no domain uses, on any host.
#[utoipa::path(delete, path = "/pools/{pool}/volumes/{volume}", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID"), ("volume" = String, Path, description = "its name")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn delete(
    State(node): State<Arc<Node>>,
    Path((pool, volume)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    finish(async move { volumes::delete(&node, &pool, &volume).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
