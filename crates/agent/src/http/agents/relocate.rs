//! `PUT /agent/address`.

use std::sync::Arc;

use api::AgentAddress;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};

use super::member;
use crate::failure::Failure;
use crate::http::asker::Asker;
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::{enter, issue};
use crate::node::Node;

/// The host that asks is reached there now. Asked of the host that holds the CA's key, which tells the others.
#[utoipa::path(put, path = "/agent/address", tag = "agents", request_body = AgentAddress,
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn relocate(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Json(said): Json<AgentAddress>,
) -> Result<StatusCode, Refusal> {
    let host = member(&node, &asker)?;
    let address = enter::is_reachable(&said.address).map_err(Failure::from)?;
    finish(async move { issue::relocate(&node, host, address).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}
