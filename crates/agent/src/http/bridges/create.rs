//! `POST /bridges`.

use std::sync::Arc;

use api::BridgeRequest;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::bridges;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Makes a bridge that takes its uplink's place. Unless it is confirmed within the time, it is undone.
#[utoipa::path(post, path = "/bridges", tag = "bridges", request_body = BridgeRequest,
    responses((status = 201, body = api::Bridge), (status = "4XX", body = api::Problem)))]
pub(crate) async fn create(
    State(node): State<Arc<Node>>,
    Json(request): Json<BridgeRequest>,
) -> Result<(StatusCode, Json<api::Bridge>), Refusal> {
    let bridge = finish(async move { bridges::create(&node, &request).await }).await?;
    Ok((StatusCode::CREATED, Json(bridge)))
}
