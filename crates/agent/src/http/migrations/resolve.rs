//! `POST /migrations/{id}/resolve`.

use std::sync::Arc;

use api::ResolveRequest;
use axum::Json;
use axum::extract::{Path, State};
use uuid::Uuid;

use super::ended;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Ends a migration in doubt by an operator's word; refused where the other side can be seen to contradict it.
#[utoipa::path(post, path = "/migrations/{id}/resolve", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")), request_body = ResolveRequest,
    responses((status = 200, body = api::Migration), (status = "4XX", body = api::Problem)))]
pub(crate) async fn resolve(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
    Json(request): Json<ResolveRequest>,
) -> Result<Json<api::Migration>, Refusal> {
    let (domain, tracker) = node.migration(id)?;
    ended(&tracker)?;
    node.ask(&domain.to_string(), |reply| Ask::Resolve(request.word, reply)).await?;
    Ok(Json(tracker.migration()))
}
