//! `POST /domains/{domain}/plan`.

use std::sync::Arc;

use api::{MigrationRequest, Plan};
use axum::Json;
use axum::extract::{Path, State};

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::plan;

/// What a live migration would be like: what stands in its way, and if nothing does, how long it takes, whether it comes to an
/// end and by what. Looks at the guest for some seconds, and changes nothing.
#[utoipa::path(post, path = "/domains/{domain}/plan", tag = "migrations",
    params(("domain" = String, Path, description = "name or UUID")), request_body = MigrationRequest,
    responses((status = 200, body = Plan), (status = "4XX", body = api::Problem)))]
pub(crate) async fn plan(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<MigrationRequest>,
) -> Result<Json<Plan>, Refusal> {
    Ok(Json(finish(plan::plan(node, domain, request)).await?))
}
