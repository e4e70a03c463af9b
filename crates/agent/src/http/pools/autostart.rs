//! `POST /pools/{pool}/autostart`.

use std::sync::Arc;

use api::{AutostartRequest, Pool};
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools;

/// Has a storage pool started with its host, or no more.
#[utoipa::path(post, path = "/pools/{pool}/autostart", tag = "pools",
    params(("pool" = String, Path, description = "name or UUID")), request_body = AutostartRequest,
    responses((status = 200, body = Pool), (status = "4XX", body = api::Problem)))]
pub(crate) async fn autostart(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
    Json(request): Json<AutostartRequest>,
) -> Result<Json<Pool>, Refusal> {
    let set = async move { pools::set_autostart(&node, &pool, request.enabled).await };
    Ok(Json(finish(set).await?))
}
