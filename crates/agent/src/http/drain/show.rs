//! `GET /drain`.

use std::sync::Arc;

use api::Drain;
use axum::Json;
use axum::extract::State;

use crate::http::problem::Refusal;
use crate::node::Node;

/// The emptying of this host that is under way, or was the last since its agent started.
#[utoipa::path(get, path = "/drain", tag = "drain",
    responses((status = 200, body = Drain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn show(State(node): State<Arc<Node>>) -> Result<Json<Drain>, Refusal> {
    Ok(Json(node.drains.last(&node.config.host)?.table.borrow().clone()))
}
