//! `POST /domains/{domain}/migrations`.

use std::sync::Arc;

use api::{MigrationRequest, MigrationStarted};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::departure::depart;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Moves a domain. Answers as soon as both hosts have checked everything and the target has made room.
#[utoipa::path(post, path = "/domains/{domain}/migrations", tag = "migrations",
    params(("domain" = String, Path, description = "name or UUID")), request_body = MigrationRequest,
    responses((status = 202, body = MigrationStarted), (status = "4XX", body = api::Problem)))]
pub(crate) async fn migrate(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<MigrationRequest>,
) -> Result<(StatusCode, Json<MigrationStarted>), Refusal> {
    let id = depart(&node, &domain, request).await?;
    Ok((StatusCode::ACCEPTED, Json(MigrationStarted { id })))
}
