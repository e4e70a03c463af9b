//! `POST /agent/volumes/users`.

use std::sync::Arc;

use api::{VolumeAsked, VolumeUser};
use axum::Json;
use axum::extract::State;

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::volumes::users;

/// Another host asks which domains of this host use a file that both may have; what is not known is an error.
#[utoipa::path(post, path = "/agent/volumes/users", tag = "agents", request_body = VolumeAsked,
    responses((status = 200, body = Vec<VolumeUser>), (status = "4XX", body = api::Problem)))]
pub(crate) async fn users(
    State(node): State<Arc<Node>>,
    Json(asked): Json<VolumeAsked>,
) -> Result<Json<Vec<VolumeUser>>, Refusal> {
    Ok(Json(users::answer(&node, &asked).await?))
}
