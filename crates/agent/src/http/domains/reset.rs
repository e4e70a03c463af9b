//! `POST /domains/{domain}/reset`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Resets the machine at once, as its reset button would.
#[utoipa::path(post, path = "/domains/{domain}/reset", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn reset(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, Ask::Reset).await?))
}
