//! `POST /migrations/{id}/switchover`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use uuid::Uuid;

use super::ended;
use crate::drive::converge::Steer;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Brings a live migration to its end, whatever the blackout: the guest is paused, what is left goes over, and it goes on on the
/// target. While memory does not go over yet, it is done when that begins.
#[utoipa::path(post, path = "/migrations/{id}/switchover", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 202), (status = "4XX", body = api::Problem)))]
pub(crate) async fn switchover(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Refusal> {
    let (domain, tracker) = node.migration(id)?;
    ended(&tracker)?;
    node.ask(&domain.to_string(), |reply| Ask::Steer(Steer::SwitchOver, reply)).await?;
    Ok(StatusCode::ACCEPTED)
}
