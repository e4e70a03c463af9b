//! `POST /agent/bridges`.

use std::sync::Arc;

use api::{Bridge, BridgeRequest};
use axum::Json;
use axum::extract::State;

use crate::fixes;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Another host, from which a domain is to come, wants a bridge on a card that this host does not use.
#[utoipa::path(post, path = "/agent/bridges", tag = "agents", request_body = BridgeRequest,
    responses((status = 200, body = Bridge), (status = "4XX", body = api::Problem)))]
pub(crate) async fn bridges(
    State(node): State<Arc<Node>>,
    Json(request): Json<BridgeRequest>,
) -> Result<Json<Bridge>, Refusal> {
    Ok(Json(finish(async move { fixes::create_bridge(&node, &request).await }).await?))
}
