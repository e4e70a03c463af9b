//! `GET /pools/{pool}/volumes`.

use std::sync::Arc;

use api::Volume;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::volumes;

/// The volumes of a pool, by name.
#[utoipa::path(get, path = "/pools/{pool}/volumes", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID")),
    responses((status = 200, body = Vec<Volume>), (status = "4XX", body = api::Problem)))]
pub(crate) async fn list(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
) -> Result<Json<Vec<Volume>>, Refusal> {
    Ok(Json(volumes::list(&node, &pool).await?))
}
