//! `POST /domains/{domain}/media`.

use std::sync::Arc;

use api::MediaRequest;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Gives a CD drive another medium, or none: the guest's while it runs, the definition's, or both.
#[utoipa::path(post, path = "/domains/{domain}/media", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = MediaRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn media(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<MediaRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, |reply| Ask::ChangeMedia(request, reply)).await?))
}
