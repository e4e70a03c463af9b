//! `GET /domains/{domain}/xml`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// A domain's definition; the live one while it has a QEMU.
#[utoipa::path(get, path = "/domains/{domain}/xml", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = String, content_type = "text/xml"), (status = "4XX", body = api::Problem)))]
pub(crate) async fn xml(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<impl IntoResponse, Refusal> {
    let xml = node.ask(&domain, Ask::Xml).await?;
    Ok(([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], xml))
}
