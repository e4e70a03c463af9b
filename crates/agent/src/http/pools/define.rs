//! `POST /pools`.

use std::sync::Arc;

use api::{Pool, PoolOrder, PoolRequest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools::everywhere::obey;

/// Defines a storage pool, or defines one anew that is not started. Nothing is looked at before it is started.
#[utoipa::path(post, path = "/pools", tag = "pools", request_body = PoolRequest,
    responses((status = 201, body = Pool), (status = "4XX", body = api::Problem)))]
pub(crate) async fn define(
    State(node): State<Arc<Node>>,
    Json(request): Json<PoolRequest>,
) -> Result<(StatusCode, Json<Option<Pool>>), Refusal> {
    let defined = finish(async move { obey(&node, PoolOrder::Define(request)).await }).await?;
    Ok((StatusCode::CREATED, Json(defined.into_iter().next())))
}
