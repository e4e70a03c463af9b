//! `POST /agent/migrations/{id}/turn`.

use std::sync::Arc;

use api::{Role, Turn};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use tokio::time::timeout;
use uuid::Uuid;

use super::party;
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::limits::TURN_WAIT;
use crate::node::Node;

/// Whether what a domain has may come in now; waits a while for the answer to be yes.
#[utoipa::path(post, path = "/agent/migrations/{id}/turn", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = Turn), (status = "4XX", body = api::Problem)))]
pub(crate) async fn turn(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
) -> Result<Json<Turn>, Refusal> {
    let (_domain, tracker) = party(&node, &asker, id, Role::Target)?;
    let granted = timeout(TURN_WAIT, node.turns.enter(id)).await.is_ok();
    if tracker.is_settled() {
        // It ended meanwhile, and whoever gave its place back may have done so before it had one.
        node.turns.ended(id);
    }
    Ok(Json(Turn { granted }))
}
