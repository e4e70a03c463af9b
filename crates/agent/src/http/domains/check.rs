//! `POST /domains/{domain}/check`.

use std::sync::Arc;

use api::{CheckReport, CheckRequest};
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::preflight;

/// What stands in the way of a migration, with the mend for each. Changes nothing.
#[utoipa::path(post, path = "/domains/{domain}/check", tag = "migrations",
    params(("domain" = String, Path, description = "name or UUID")), request_body = CheckRequest,
    responses((status = 200, body = CheckReport), (status = "4XX", body = api::Problem)))]
pub(crate) async fn check(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<CheckRequest>,
) -> Result<Json<CheckReport>, Refusal> {
    Ok(Json(finish(preflight::check(node, domain, request)).await?))
}
