//! `POST /domains/{domain}/rename`.

use std::sync::Arc;

use api::RenameRequest;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Gives a domain that is shut off another name.
#[utoipa::path(post, path = "/domains/{domain}/rename", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = RenameRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn rename(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<RenameRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, |reply| Ask::Rename(request.name, reply)).await?))
}
