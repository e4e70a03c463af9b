//! `POST /migrations/{id}/resolve`.

use std::sync::Arc;

use api::ResolveRequest;
use axum::Json;
use axum::extract::{Path, State};
use uuid::Uuid;

use super::ended;
use crate::failure::Failure;
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
    let told = node.ask(&domain.to_string(), |reply| Ask::Resolve(request.word, reply)).await;
    if matches!(told, Err(Failure::DomainNotFound { .. })) {
        // It may have ended by itself just now, and what was asked of it with it.
        ended(&tracker)?;
    }
    told?;
    Ok(Json(tracker.migration()))
}
