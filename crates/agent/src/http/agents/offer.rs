//! `POST /agent/migrations`.

use std::sync::Arc;

use api::{Offer, Ticket};
use axum::extract::State;
use axum::{Extension, Json};

use crate::failure::{DrainFailure, Failure, RequestFailure};
use crate::guest::frozen_uuid;
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::keeper::{self, Ask, Begin};
use crate::node::Node;
use crate::preflight;

/// A source asks this host to take a domain in.
#[utoipa::path(post, path = "/agent/migrations", tag = "agents", request_body = Offer,
    responses((status = 200, body = Ticket), (status = "4XX", body = api::Problem)))]
pub(crate) async fn offer(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Json(offer): Json<Offer>,
) -> Result<Json<Ticket>, Refusal> {
    if !asker.is_host(&offer.source) {
        return Err(Failure::from(RequestFailure::NotAnAgent).into());
    }
    Ok(Json(take_in(&node, offer).await?))
}

async fn take_in(node: &Arc<Node>, offer: Offer) -> Result<Ticket, Failure> {
    if node.drains.is_emptying() {
        return Err(DrainFailure::TakesNone { host: node.config.host.clone() }.into());
    }
    // A target must be able to ask its source what became of a migration.
    node.neighbours.client(&offer.source)?;
    if node.migration(offer.migration).is_ok() {
        return Err(Failure::MigrationKnown { id: offer.migration });
    }
    let coming = preflight::take_in(node, &offer).await?;
    let domain = coming.live.domain();
    let (uuid, name) = (frozen_uuid(domain), domain.name.clone());
    let handle = node.admit(uuid, &name, || keeper::begin(node, uuid, name.clone(), None, Begin::New))?;
    let made = handle.ask(|reply| Ask::Offer(Box::new((offer, coming)), reply)).await;
    made.unwrap_or(Err(Failure::Stopping))
}
