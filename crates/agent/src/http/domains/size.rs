//! `POST /domains/{domain}/size`.

use std::sync::Arc;

use api::SizeRequest;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Gives a domain other vCPUs or memory from its next start on; a guest that runs keeps what it has.
#[utoipa::path(post, path = "/domains/{domain}/size", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = SizeRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn size(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<SizeRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, |reply| Ask::Resize(request, reply)).await?))
}
