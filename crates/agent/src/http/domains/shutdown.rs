//! `POST /domains/{domain}/shutdown`.

use std::sync::Arc;
use std::time::Duration;

use api::ShutdownRequest;
use axum::Json;
use axum::extract::{Path, State};

use crate::http::problem::Refusal;
use crate::keeper;
use crate::node::Node;

/// Asks the guest to shut itself down (ACPI), and waits for it.
#[utoipa::path(post, path = "/domains/{domain}/shutdown", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = ShutdownRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn shutdown(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<ShutdownRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    let after = Duration::from_secs(request.timeout_s);
    Ok(Json(keeper::shutdown(&node, &domain, after).await?))
}
