//! `GET /pools/{pool}/volumes/{volume}`.

use std::sync::Arc;

use api::Volume;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::volumes;

/// One volume: what it stands on, and who uses it.
#[utoipa::path(get, path = "/pools/{pool}/volumes/{volume}", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID"), ("volume" = String, Path, description = "its name")),
    responses((status = 200, body = Volume), (status = "4XX", body = api::Problem)))]
pub(crate) async fn show(
    State(node): State<Arc<Node>>,
    Path((pool, volume)): Path<(String, String)>,
) -> Result<Json<Volume>, Refusal> {
    Ok(Json(volumes::show(&node, &pool, &volume).await?))
}
