//! `GET /bridges`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::bridges;
use crate::http::problem::Refusal;
use crate::node::Node;

/// The host's bridges by name, whoever made them.
#[utoipa::path(get, path = "/bridges", tag = "bridges", responses((status = 200, body = Vec<api::Bridge>)))]
pub(crate) async fn list(State(node): State<Arc<Node>>) -> Result<Json<Vec<api::Bridge>>, Refusal> {
    Ok(Json(bridges::list(&node).await?))
}
