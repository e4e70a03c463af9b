//! `POST /migrations/{id}/settings`.

use std::sync::Arc;

use api::Settings;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use uuid::Uuid;

use super::ended;
use crate::drive::converge::Steer;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Changes what a live migration may do, while its memory goes over; before that it is changed when that begins.
#[utoipa::path(post, path = "/migrations/{id}/settings", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")), request_body = Settings,
    responses((status = 202), (status = "4XX", body = api::Problem)))]
pub(crate) async fn settings(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
    Json(settings): Json<Settings>,
) -> Result<StatusCode, Refusal> {
    let (domain, tracker) = node.migration(id)?;
    ended(&tracker)?;
    node.ask(&domain.to_string(), |reply| Ask::Steer(Steer::Set(settings), reply)).await?;
    Ok(StatusCode::ACCEPTED)
}
