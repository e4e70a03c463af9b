//! `GET /agent/room`.

use std::sync::Arc;

use api::Room;
use axum::Json;
use axum::extract::State;

use crate::failure::Failure;
use crate::http::problem::Refusal;
use crate::node::Node;

/// What this host has for further domains.
#[utoipa::path(get, path = "/agent/room", tag = "agents",
    responses((status = 200, body = Room), (status = "5XX", body = api::Problem)))]
pub(crate) async fn room(State(node): State<Arc<Node>>) -> Result<Json<Room>, Refusal> {
    let facts = host::Facts::read().map_err(Failure::from)?;
    Ok(Json(Room { memory_available_bytes: facts.memory_available, draining: node.drains.is_emptying() }))
}
