//! `POST /installs`.

use std::sync::Arc;

use api::InstallRequest;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::install;
use crate::node::Node;

/// Defines a new domain by a few words, makes its disks and starts it.
#[utoipa::path(post, path = "/installs", tag = "domains", request_body = InstallRequest,
    responses((status = 201, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn install(
    State(node): State<Arc<Node>>,
    Json(request): Json<InstallRequest>,
) -> Result<(StatusCode, Json<api::Domain>), Refusal> {
    let installed = finish(async move { install::install(&node, &request).await }).await?;
    Ok((StatusCode::CREATED, Json(installed)))
}
