//! `GET` and `PUT /domains/{domain}/xml`.

use std::sync::Arc;

use api::EditRequest;
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde::Deserialize;

use crate::define::freeze;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Which definition.
#[derive(Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    inactive: bool,
}

/// A domain's definition; the live one while it has a QEMU.
#[utoipa::path(get, path = "/domains/{domain}/xml", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID"),
        ("inactive" = Option<bool>, Query, description = "the one for its next start")),
    responses((status = 200, body = String, content_type = "text/xml"), (status = "4XX", body = api::Problem)))]
pub(crate) async fn xml(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Query(which): Query<Which>,
) -> Result<impl IntoResponse, Refusal> {
    let xml = node.ask(&domain, |reply| Ask::Xml { inactive: which.inactive, reply }).await?;
    Ok(([(header::CONTENT_TYPE, "text/xml; charset=utf-8")], xml))
}

/// Replaces the definition for the next start, where it still is the one that was edited.
#[utoipa::path(put, path = "/domains/{domain}/xml", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")), request_body = EditRequest,
    responses((status = 200, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn edit(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<EditRequest>,
) -> Result<Json<api::Domain>, Refusal> {
    let definition = freeze(&node, &request.xml).await?;
    let edit = |reply| Ask::Edit(Box::new(definition), request.replaces, reply);
    Ok(Json(node.ask(&domain, edit).await?))
}
