//! `GET /version`.

use std::sync::Arc;

use api::{Protocols, Version};
use axum::Json;
use axum::extract::State;

use crate::node::Node;
use crate::tracker::unix_ms;

/// What answers.
#[utoipa::path(get, path = "/version", tag = "host", responses((status = 200, body = Version)))]
pub(crate) async fn version(State(node): State<Arc<Node>>) -> Json<Version> {
    let ours = Protocols::OURS;
    Json(Version {
        ferry: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: ours.newest,
        protocol_oldest: (ours.oldest < ours.newest).then_some(ours.oldest),
        host: node.config.host.clone(),
        now_ms: Some(unix_ms()),
    })
}
