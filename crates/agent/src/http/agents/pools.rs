//! `POST /agent/pools`.

use std::sync::Arc;

use api::{Pool, PoolOrder};
use axum::Json;
use axum::extract::State;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools::everywhere::obey_agent;

/// Another host does something with this host's pools; the pools that it is about are the answer.
#[utoipa::path(post, path = "/agent/pools", tag = "agents", request_body = PoolOrder,
    responses((status = 200, body = Vec<Pool>), (status = "4XX", body = api::Problem)))]
pub(crate) async fn pools(
    State(node): State<Arc<Node>>,
    Json(order): Json<PoolOrder>,
) -> Result<Json<Vec<Pool>>, Refusal> {
    Ok(Json(finish(async move { obey_agent(&node, order).await }).await?))
}
