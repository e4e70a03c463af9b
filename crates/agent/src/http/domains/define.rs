//! `POST /domains`.

use std::sync::Arc;

use api::DefineRequest;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::define;
use crate::http::problem::Refusal;
use crate::node::Node;

/// Defines a domain, or defines it anew under the same name and UUID. A transient one is started instead.
#[utoipa::path(post, path = "/domains", tag = "domains", request_body = DefineRequest,
    responses((status = 201, body = api::Domain), (status = "4XX", body = api::Problem)))]
pub(crate) async fn define(
    State(node): State<Arc<Node>>,
    Json(request): Json<DefineRequest>,
) -> Result<(StatusCode, Json<api::Domain>), Refusal> {
    let domain = match request.transient {
        true => define::create(&node, &request.xml).await?,
        false => define::define(&node, &request.xml).await?,
    };
    Ok((StatusCode::CREATED, Json(domain)))
}
