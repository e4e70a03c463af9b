//! `POST /migrations/{id}/postcopy`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use uuid::Uuid;

use super::ended;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Hands the guest over now; the rest of its memory follows. Only where the migration was begun with that allowed.
#[utoipa::path(post, path = "/migrations/{id}/postcopy", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 202), (status = "4XX", body = api::Problem)))]
pub(crate) async fn postcopy(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Refusal> {
    let (domain, tracker) = node.migration(id)?;
    ended(&tracker)?;
    node.ask(&domain.to_string(), Ask::Postcopy).await?;
    Ok(StatusCode::ACCEPTED)
}
