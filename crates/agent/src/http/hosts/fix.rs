//! `POST /hosts/{host}/fixes`.

use std::sync::Arc;

use api::Fix;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::fixes;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Has another host make a mend that a check has found (`fix` of its answer).
#[utoipa::path(post, path = "/hosts/{host}/fixes", tag = "hosts", request_body = Fix,
    params(("host" = String, Path, description = "its name")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn fix(
    State(node): State<Arc<Node>>,
    Path(host): Path<String>,
    Json(fix): Json<Fix>,
) -> Result<StatusCode, Refusal> {
    finish(async move { fixes::order(&node, &host, fix).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
