//! `POST /domains/{domain}/devices` and `/devices/detach`.

use std::sync::Arc;

use api::{AttachRequest, DetachRequest};
use axum::Json;
use axum::extract::{Path, State};
use tokio::time::timeout;

use crate::failure::{Failure, PlugFailure};
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::limits::DETACH_TIMEOUT;
use crate::node::Node;

/// Gives a domain one more disk or network interface: the guest while it runs, the definition, or both.
#[utoipa::path(post, path = "/domains/{domain}/devices", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = AttachRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn attach(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<AttachRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    Ok(Json(node.ask(&domain, |reply| Ask::Attach(request, reply)).await?))
}

/// Takes a disk or network interface away. Of a guest that runs it is gone when the guest has let go of it; where that
/// takes too long, it may still go later.
#[utoipa::path(post, path = "/domains/{domain}/devices/detach", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = DetachRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn detach(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<DetachRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    let asked = node.ask(&domain, |reply| Ask::Detach(request, reply));
    let stays = |_elapsed| {
        Err(Failure::Plug(PlugFailure::DeviceStays { domain: domain.clone(), after: DETACH_TIMEOUT }))
    };
    Ok(Json(timeout(DETACH_TIMEOUT, asked).await.unwrap_or_else(stays)?))
}
