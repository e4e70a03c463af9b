//! `POST /domains/{domain}/reboot`.

use std::sync::Arc;
use std::time::Duration;

use api::RebootRequest;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Asks the guest to shut itself down (ACPI), boots it again, and waits for it.
#[utoipa::path(post, path = "/domains/{domain}/reboot", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = RebootRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn reboot(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<RebootRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    let within = Duration::from_secs(request.timeout_s);
    Ok(Json(node.ask(&domain, |reply| Ask::Reboot(within, reply)).await?))
}
