//! `GET /domains`.

use std::sync::Arc;

use api::DomainState;
use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::node::Node;

/// Which domains.
#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    all: bool,
}

/// Domains by name: those with a QEMU, or all.
#[utoipa::path(get, path = "/domains", tag = "domains",
    params(("all" = Option<bool>, Query, description = "also those that are shut off or have moved away")),
    responses((status = 200, body = Vec<api::Domain>)))]
pub(crate) async fn list(
    State(node): State<Arc<Node>>,
    Query(which): Query<Which>,
) -> Json<Vec<api::Domain>> {
    let mut domains = node.domains().await;
    domains.retain(|domain| which.all || !matches!(domain.state, DomainState::ShutOff | DomainState::Moved));
    Json(domains)
}
