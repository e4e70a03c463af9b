//! `GET /report`.

use std::sync::Arc;

use api::Accuracy;
use axum::Json;
use axum::extract::State;
use migration::plan::calibration::accuracy;

use crate::node::Node;

/// How good predictions were, and the migrations that they were made of.
#[utoipa::path(get, path = "/report", tag = "migrations", responses((status = 200, body = Accuracy)))]
pub(crate) async fn report(State(node): State<Arc<Node>>) -> Json<Accuracy> {
    Json(accuracy(node.migrations().iter().map(|tracker| tracker.migration()).collect()))
}
