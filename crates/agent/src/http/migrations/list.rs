//! `GET /migrations`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::node::Node;

/// Every migration that this host knows, oldest first.
#[utoipa::path(get, path = "/migrations", tag = "migrations",
    responses((status = 200, body = Vec<api::Migration>)))]
pub(crate) async fn list(State(node): State<Arc<Node>>) -> Json<Vec<api::Migration>> {
    Json(node.migrations().iter().map(|tracker| tracker.migration()).collect())
}
