//! `POST /pools/{pool}/volumes/{volume}/size`.

use std::sync::Arc;

use api::{Volume, VolumeSizeRequest};
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::volumes;

/// Gives a volume that no guest has open another size.
#[utoipa::path(post, path = "/pools/{pool}/volumes/{volume}/size", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID"), ("volume" = String, Path, description = "its name")), request_body = VolumeSizeRequest,
    responses((status = 200, body = Volume), (status = "4XX", body = api::Problem)))]
pub(crate) async fn resize(
    State(node): State<Arc<Node>>,
    Path((pool, volume)): Path<(String, String)>,
    Json(request): Json<VolumeSizeRequest>,
) -> Result<Json<Volume>, Refusal> {
    Ok(Json(finish(async move { volumes::resize(&node, &pool, &volume, &request).await }).await?))
}
