//! `POST /agent/checks`.

use std::sync::Arc;

use api::{CheckOffer, TargetFacts};
use axum::extract::State;
use axum::{Extension, Json};

use crate::failure::{Failure, RequestFailure};
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::preflight;

/// A source asks what a domain would find on this host.
#[utoipa::path(post, path = "/agent/checks", tag = "agents", request_body = CheckOffer,
    responses((status = 200, body = TargetFacts), (status = "4XX", body = api::Problem)))]
pub(crate) async fn check(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Json(offer): Json<CheckOffer>,
) -> Result<Json<TargetFacts>, Refusal> {
    if !asker.is_host(&offer.source) {
        return Err(Failure::from(RequestFailure::NotAnAgent).into());
    }
    Ok(Json(preflight::facts(&node, &offer).await?))
}
