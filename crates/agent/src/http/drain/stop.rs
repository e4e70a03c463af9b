//! `POST /drain/stop`.

use std::sync::Arc;

use api::StopDrain;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::problem::Refusal;
use crate::node::Node;

/// Begins with no further domain. Migrations that are under way go on to their end, or are cancelled too.
#[utoipa::path(post, path = "/drain/stop", tag = "drain", request_body = StopDrain,
    responses((status = 202), (status = "4XX", body = api::Problem)))]
pub(crate) async fn stop(
    State(node): State<Arc<Node>>,
    Json(request): Json<StopDrain>,
) -> Result<StatusCode, Refusal> {
    node.drains.last(&node.config.host)?.stop(request);
    Ok(StatusCode::ACCEPTED)
}
