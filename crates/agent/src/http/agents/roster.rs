//! `GET /agent/hosts`, `PUT /agent/hosts`.

use std::sync::Arc;

use api::Roster;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use crate::failure::{Failure, RequestFailure};
use crate::http::asker::Asker;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::{issue, keep};
use crate::node::Node;

/// All hosts that have joined, and what is revoked. Asked of the host that holds the CA's key.
#[utoipa::path(get, path = "/agent/hosts", tag = "agents",
    responses((status = 200, body = Roster), (status = "4XX", body = api::Problem)))]
pub(crate) async fn roster(State(node): State<Arc<Node>>) -> Result<Json<Roster>, Refusal> {
    Ok(Json(issue::roster(&node)?))
}

/// The host that holds the CA's key tells who is there now.
#[utoipa::path(put, path = "/agent/hosts", tag = "agents", request_body = Roster,
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn take(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Json(roster): Json<Roster>,
) -> Result<StatusCode, Refusal> {
    let hosts = node.neighbours.hosts();
    if !hosts.issuer().is_some_and(|issuer| asker.is_host(issuer)) {
        return Err(Failure::from(RequestFailure::NotAnAgent).into());
    }
    finish(async move { keep::take(&node, roster, None).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
