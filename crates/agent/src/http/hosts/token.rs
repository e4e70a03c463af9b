//! `POST /hosts/tokens`.

use std::sync::Arc;

use api::{Token, TokenRequest};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::join::issue;
use crate::node::Node;

/// Makes a token that lets one host join, once. The first one makes a CA where this host has none.
#[utoipa::path(post, path = "/hosts/tokens", tag = "hosts", request_body = TokenRequest,
    responses((status = 201, body = Token), (status = "4XX", body = api::Problem)))]
pub(crate) async fn token(
    State(node): State<Arc<Node>>,
    Json(request): Json<TokenRequest>,
) -> Result<(StatusCode, Json<Token>), Refusal> {
    let made = finish(async move { issue::token(&node, request).await }).await?;
    Ok((StatusCode::CREATED, Json(made)))
}
