//! `GET /domains/{domain}/screenshot`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::IntoResponse;

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;
use crate::screen;

/// What a domain's first screen shows, as a picture.
#[utoipa::path(get, path = "/domains/{domain}/screenshot", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses(
        (status = 200, content((Vec<u8> = "image/png"), (Vec<u8> = "image/x-portable-pixmap")),
            description = "PNG, or a portable pixmap where this QEMU was built without PNG"),
        (status = "4XX", body = api::Problem)))]
pub(crate) async fn screenshot(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<impl IntoResponse, Refusal> {
    let guest = node.ask(&domain, Ask::Look).await?;
    let (kind, picture) = screen::picture(&node, &guest).await?;
    Ok(([(header::CONTENT_TYPE, kind)], picture))
}
