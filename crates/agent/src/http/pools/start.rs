//! `POST /pools/{pool}/start`.

use std::sync::Arc;

use api::Pool;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools::ready;

/// Makes a storage pool ready: mounts what is to be mounted, and finds out whether this host can work in it.
#[utoipa::path(post, path = "/pools/{pool}/start", tag = "pools",
    params(("pool" = String, Path, description = "name or UUID")),
    responses((status = 200, body = Pool), (status = "4XX", body = api::Problem)))]
pub(crate) async fn start(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
) -> Result<Json<Pool>, Refusal> {
    Ok(Json(finish(async move { ready::start(&node, &pool).await }).await?))
}
