//! `POST /bridges/{bridge}/confirm`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};

use crate::bridges;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Keeps a bridge that would be undone.
#[utoipa::path(post, path = "/bridges/{bridge}/confirm", tag = "bridges",
    params(("bridge" = String, Path, description = "its name")),
    responses((status = 200, body = api::Bridge), (status = "4XX", body = api::Problem)))]
pub(crate) async fn confirm(
    State(node): State<Arc<Node>>,
    Path(name): Path<String>,
) -> Result<Json<api::Bridge>, Refusal> {
    Ok(Json(finish(async move { bridges::confirm(&node, &name).await }).await?))
}
