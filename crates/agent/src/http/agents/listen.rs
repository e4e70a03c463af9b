//! `POST /agent/migrations/{id}/listen`.

use std::sync::Arc;

use api::{Listening, Pledge, Role};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use uuid::Uuid;

use super::party;
use crate::drive::target::Said;
use crate::failure::Failure;
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Lets a guest that still needs memory from its source be sent it over a new connection. May be repeated; each answer is
/// another address.
#[utoipa::path(post, path = "/agent/migrations/{id}/listen", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")), request_body = Pledge,
    responses((status = 200, body = Listening), (status = "4XX", body = api::Problem)))]
pub(crate) async fn listen(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
    Json(pledge): Json<Pledge>,
) -> Result<Json<Listening>, Refusal> {
    let (domain, _tracker) = party(&node, &asker, id, Role::Target)?;
    let keeper = node.keeper(&domain.to_string())?;
    let heard = keeper.ask(|reply| Ask::Arriving(Said::Listen { token: pledge.token, reply })).await;
    let ended = Failure::MigrationEnded { phase: "no memory is missing" };
    Ok(Json(heard.ok_or(ended)??))
}
