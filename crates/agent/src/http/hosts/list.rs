//! `GET /hosts`.

use std::sync::Arc;

use api::KnownHost;
use axum::Json;
use axum::extract::State;

use crate::join;
use crate::node::Node;

/// Every host that this one knows, this one first; each is asked whether it is there.
#[utoipa::path(get, path = "/hosts", tag = "hosts", responses((status = 200, body = Vec<KnownHost>)))]
pub(crate) async fn list(State(node): State<Arc<Node>>) -> Json<Vec<KnownHost>> {
    Json(join::list::list(&node).await)
}
