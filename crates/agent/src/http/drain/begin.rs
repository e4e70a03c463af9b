//! `POST /drain`.

use std::sync::Arc;

use api::{Drain, DrainRequest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::drain;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Begins to move every domain that runs on this host to others. While it goes on, this host takes none in.
#[utoipa::path(post, path = "/drain", tag = "drain", request_body = DrainRequest,
    responses((status = 202, body = Drain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn begin(
    State(node): State<Arc<Node>>,
    Json(request): Json<DrainRequest>,
) -> Result<(StatusCode, Json<Drain>), Refusal> {
    Ok((StatusCode::ACCEPTED, Json(drain::begin(&node, request).await?)))
}
