//! `GET /domains/{domain}/console`.

use std::sync::Arc;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;

use crate::console;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::limits::CONSOLE_MESSAGE_BYTES_MAX;
use crate::node::Node;

#[derive(Deserialize)]
pub(crate) struct Which {
    devname: Option<String>,
    #[serde(default)]
    force: bool,
}

/// A domain's console, as a WebSocket. Binary messages are its bytes, both ways; a text message says why it ended.
#[utoipa::path(get, path = "/domains/{domain}/console", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID"),
        ("devname" = Option<String>, Query, description = "which, as in serial0; the first one without it"),
        ("force" = Option<bool>, Query, description = "take it over from whoever is at it")),
    responses((status = 101, description = "a WebSocket"), (status = "4XX", body = api::Problem)))]
pub(crate) async fn console(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Query(which): Query<Which>,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let guest = node.ask(&domain, Ask::Look).await?;
    let opened = console::open(&node, &guest, which.devname.as_deref(), which.force).await?;
    let upgrade = upgrade.max_message_size(CONSOLE_MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(|socket| opened.carry(socket)))
}
