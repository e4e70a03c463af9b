//! `DELETE /bridges/{bridge}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::bridges;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Removes a bridge that Ferry made and that no guest uses; its uplink takes back what it carried.
#[utoipa::path(delete, path = "/bridges/{bridge}", tag = "bridges",
    params(("bridge" = String, Path, description = "its name")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn delete(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    finish(async move { bridges::delete(&node, &name).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
