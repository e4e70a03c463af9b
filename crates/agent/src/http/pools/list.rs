//! `GET /pools`.

use std::sync::Arc;

use api::Pool;
use axum::Json;
use axum::extract::State;

use crate::node::Node;
use crate::pools;

/// The storage pools of this host by name; what is wrong with one, as far as can be seen without writing into it.
#[utoipa::path(get, path = "/pools", tag = "pools", responses((status = 200, body = Vec<Pool>)))]
pub(crate) async fn list(State(node): State<Arc<Node>>) -> Json<Vec<Pool>> {
    Json(pools::list(&node).await)
}
