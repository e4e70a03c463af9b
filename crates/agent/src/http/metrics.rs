//! `GET /metrics`, outside `/api/v1`: for Prometheus, by the Unix socket or by `metrics_listen`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

use super::problem::Refusal;
use crate::metrics::{CONTENT_TYPE, gather, page};
use crate::node::Node;

/// The page.
pub(crate) async fn metrics(State(node): State<Arc<Node>>) -> Result<impl IntoResponse, Refusal> {
    let measured = gather::gather(&node).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], page(measured)))
}

/// What whoever reaches `metrics_listen` may ask: the page and nothing else.
pub(crate) fn alone(node: Arc<Node>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(node)
}
