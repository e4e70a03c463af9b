//! `DELETE /hosts/{host}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::issue;
use crate::node::Node;

/// Removes a host that has joined: no host trusts its certificates from now on. Asked of the host that holds the CA's key.
#[utoipa::path(delete, path = "/hosts/{host}", tag = "hosts",
    params(("host" = String, Path, description = "its name")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn remove(
    State(node): State<Arc<Node>>,
    Path(host): Path<String>,
) -> Result<StatusCode, Refusal> {
    finish(async move { issue::remove(&node, host).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
