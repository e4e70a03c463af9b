//! `POST /domains/{domain}/autostart`.

use std::sync::Arc;

use api::AutostartRequest;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Says whether a domain starts when its host boots.
#[utoipa::path(post, path = "/domains/{domain}/autostart", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = AutostartRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn autostart(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<AutostartRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, |reply| Ask::Autostart(request.enabled, reply)).await?))
}
