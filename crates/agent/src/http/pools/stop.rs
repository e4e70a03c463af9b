//! `POST /pools/{pool}/stop`.

use std::sync::Arc;

use api::Pool;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools::ready;

/// Lets go of a storage pool; what is mounted for it is unmounted.
#[utoipa::path(post, path = "/pools/{pool}/stop", tag = "pools",
    params(("pool" = String, Path, description = "name or UUID")),
    responses((status = 200, body = Pool), (status = "4XX", body = api::Problem)))]
pub(crate) async fn stop(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
) -> Result<Json<Pool>, Refusal> {
    Ok(Json(finish(async move { ready::stop(&node, &pool).await }).await?))
}
