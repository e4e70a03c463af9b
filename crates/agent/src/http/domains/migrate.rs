//! `POST /domains/{domain}/migrations`.

use std::sync::Arc;

use api::{CheckMode, CheckRequest, MigrationRequest, MigrationStarted};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;
use crate::preflight;

/// Moves a domain. Answers as soon as both hosts have checked everything and the target has made room.
#[utoipa::path(post, path = "/domains/{domain}/migrations", tag = "migrations",
    params(("domain" = String, Path, description = "name or UUID")), request_body = MigrationRequest,
    responses((status = 202, body = MigrationStarted), (status = "4XX", body = api::Problem)))]
pub(crate) async fn migrate(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<MigrationRequest>,
) -> Result<(StatusCode, Json<MigrationStarted>), Refusal> {
    let asked = CheckRequest {
        mode: Some(CheckMode::Live),
        skip: request.skip.clone(),
        channels: request.channels,
        plaintext: request.plaintext,
        ..CheckRequest::to(&request.to)
    };
    let checked = finish(preflight::check_first(Arc::clone(&node), domain.clone(), asked)).await?;
    let warnings = checked.map(|it| preflight::permitted(it.report)).transpose()?.unwrap_or_default();
    let id = node.ask(&domain, |reply| Ask::Migrate(request, warnings, reply)).await?;
    Ok((StatusCode::ACCEPTED, Json(MigrationStarted { id })))
}
