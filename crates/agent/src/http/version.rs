//! `GET /version`.

use std::sync::Arc;

use api::Version;
use axum::Json;
use axum::extract::State;

use crate::node::Node;

/// What answers.
#[utoipa::path(get, path = "/version", tag = "host", responses((status = 200, body = Version)))]
pub(crate) async fn version(State(node): State<Arc<Node>>) -> Json<Version> {
    Json(Version {
        ferry: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: api::PROTOCOL,
        host: node.config.host.clone(),
    })
}
