//! `POST /migrations/{id}/cancel`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use uuid::Uuid;

use super::ended;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Asks a migration to stop; the domain stays on the source. After the pledge it is too late.
#[utoipa::path(post, path = "/migrations/{id}/cancel", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 202), (status = "4XX", body = api::Problem)))]
pub(crate) async fn cancel(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Refusal> {
    let (domain, tracker) = node.migration(id)?;
    ended(&tracker)?;
    node.ask(&domain.to_string(), Ask::Cancel).await?;
    Ok(StatusCode::ACCEPTED)
}
