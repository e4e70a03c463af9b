//! `GET /migrations/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use uuid::Uuid;

use crate::http::problem::Refusal;
use crate::node::Node;

/// One migration.
#[utoipa::path(get, path = "/migrations/{id}", tag = "migrations",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = api::Migration), (status = "4XX", body = api::Problem)))]
pub(crate) async fn show(
    State(node): State<Arc<Node>>,
    Path(id): Path<Uuid>,
) -> Result<Json<api::Migration>, Refusal> {
    Ok(Json(node.migration(id)?.1.migration()))
}
