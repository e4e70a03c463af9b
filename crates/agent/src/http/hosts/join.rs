//! `POST /hosts/join`.

use std::sync::Arc;

use api::{JoinRequest, Joined};
use axum::Json;
use axum::extract::State;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::enter;
use crate::node::Node;

/// This host joins the one that made a token, and with it all others.
#[utoipa::path(post, path = "/hosts/join", tag = "hosts", request_body = JoinRequest,
    responses((status = 200, body = Joined), (status = "4XX", body = api::Problem)))]
pub(crate) async fn join(
    State(node): State<Arc<Node>>,
    Json(request): Json<JoinRequest>,
) -> Result<Json<Joined>, Refusal> {
    Ok(Json(finish(async move { enter::join(&node, request).await }).await?))
}
