//! `POST /domains/{domain}/clone`.

use std::sync::Arc;

use api::CloneRequest;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::clone;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Defines another domain with copies of the disks of one that is shut off. Answers when they are copied.
#[utoipa::path(post, path = "/domains/{domain}/clone", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = CloneRequest,
    responses((status = 201, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn clone(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<CloneRequest>,
) -> Result<(StatusCode, Json<api::Domain>), Refusal> {
    let cloned = finish(async move { clone::clone(&node, &domain, &request).await }).await?;
    Ok((StatusCode::CREATED, Json(cloned)))
}
