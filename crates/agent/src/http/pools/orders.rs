//! `POST /pools/orders`.

use std::sync::Arc;

use api::{HostPools, PoolOrder};
use axum::Json;
use axum::extract::State;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools::everywhere;

/// Does the same on this host and on every host that it knows; each answers for itself. What this host refuses to define
/// is asked of no other.
#[utoipa::path(post, path = "/pools/orders", tag = "pools", request_body = PoolOrder,
    responses((status = 200, body = Vec<HostPools>), (status = "4XX", body = api::Problem)))]
pub(crate) async fn everywhere(
    State(node): State<Arc<Node>>,
    Json(order): Json<PoolOrder>,
) -> Result<Json<Vec<HostPools>>, Refusal> {
    Ok(Json(finish(async move { everywhere::everywhere(&node, order).await }).await?))
}
