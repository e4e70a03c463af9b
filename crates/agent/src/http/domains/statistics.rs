//! `GET /domains/{domain}/statistics`.

use std::sync::Arc;

use api::Statistics;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::statistics;

/// What was counted for a domain: its processors' time, its disks' and its taps' traffic, its snapshots.
#[utoipa::path(get, path = "/domains/{domain}/statistics", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = Statistics), (status = "4XX", body = api::Problem)))]
pub(crate) async fn statistics(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<Json<Statistics>, Refusal> {
    Ok(Json(statistics::statistics(&node, &domain).await?))
}
