//! `GET /pools/{pool}/xml`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::problem::Refusal;
use crate::node::Node;
use crate::pools;

/// The definition of a storage pool, libvirt pool XML.
#[utoipa::path(get, path = "/pools/{pool}/xml", tag = "pools",
    params(("pool" = String, Path, description = "name or UUID")),
    responses((status = 200, body = String, content_type = "application/xml"), (status = "4XX", body = api::Problem)))]
pub(crate) async fn xml(
    State(node): State<Arc<Node>>,
    Path(pool): Path<String>,
) -> Result<impl IntoResponse, Refusal> {
    Ok(([(header::CONTENT_TYPE, "application/xml")], pools::xml(&node, &pool)?))
}
