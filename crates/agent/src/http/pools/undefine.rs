//! `DELETE /pools/{pool}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools;

/// Forgets a storage pool that is not started. Its directory and its volumes stay.
#[utoipa::path(delete, path = "/pools/{pool}", tag = "pools",
    params(("pool" = String, Path, description = "name or UUID")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn undefine(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
) -> Result<StatusCode, Refusal> {
    finish(async move { pools::undefine(&node, &pool).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
