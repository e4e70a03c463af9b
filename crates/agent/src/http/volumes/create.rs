//! `POST /pools/{pool}/volumes`.

use std::sync::Arc;

use api::{Volume, VolumeRequest};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::volumes;

/// Makes an empty volume.
#[utoipa::path(post, path = "/pools/{pool}/volumes", tag = "volumes",
    params(("pool" = String, Path, description = "name or UUID")), request_body = VolumeRequest,
    responses((status = 201, body = Volume), (status = "4XX", body = api::Problem)))]
pub(crate) async fn create(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
    Json(request): Json<VolumeRequest>,
) -> Result<(StatusCode, Json<Volume>), Refusal> {
    let made = finish(async move { volumes::create(&node, &pool, request).await }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
