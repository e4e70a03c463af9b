//! `GET /pools/{pool}`.

use std::sync::Arc;

use api::Pool;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools;

/// One storage pool: whether its directory is what its definition says, found out by writing into it.
#[utoipa::path(get, path = "/pools/{pool}", tag = "pools",
    params(("pool" = String, Path, description = "name or UUID")),
    responses((status = 200, body = Pool), (status = "4XX", body = api::Problem)))]
pub(crate) async fn show(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
) -> Result<Json<Pool>, Refusal> {
    Ok(Json(pools::show(&node, &pool).await?))
}
