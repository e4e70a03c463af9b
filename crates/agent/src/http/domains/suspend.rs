//! `POST /domains/{domain}/suspend`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Stops a domain's vCPUs.
#[utoipa::path(post, path = "/domains/{domain}/suspend", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn suspend(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, Ask::Suspend).await?))
}
