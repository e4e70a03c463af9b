//! `POST /domains/{domain}/resume`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Lets a suspended domain go on.
#[utoipa::path(post, path = "/domains/{domain}/resume", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn resume(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, Ask::Resume).await?))
}
