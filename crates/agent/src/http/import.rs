//! `POST /imports`.

use std::sync::Arc;

use api::{ImportRequest, Imported};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::problem::Refusal;
use crate::import;
use crate::node::Node;

/// Defines a domain of this host's libvirt that is shut off, with its disks in place.
#[utoipa::path(post, path = "/imports", tag = "domains", request_body = ImportRequest,
    responses((status = 201, body = Imported), (status = "4XX", body = api::Problem)))]
pub(crate) async fn import(
    State(node): State<Arc<Node>>,
    Json(request): Json<ImportRequest>,
) -> Result<(StatusCode, Json<Imported>), Refusal> {
    Ok((StatusCode::CREATED, Json(import::import(&node, request).await?)))
}
