//! `POST /agent/migrations/{id}/pledge`.

use std::sync::Arc;

use api::{Pledge, Role, Verdict};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use uuid::Uuid;

use super::{party, verdict};
use crate::drive::target::Said;
use crate::failure::Failure;
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// The source gives the right to run away, irrevocably. May be repeated; the answer is the same.
#[utoipa::path(post, path = "/agent/migrations/{id}/pledge", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")), request_body = Pledge,
    responses((status = 200, body = Verdict), (status = "4XX", body = api::Problem)))]
pub(crate) async fn pledge(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
    Json(pledge): Json<Pledge>,
) -> Result<Json<Verdict>, Refusal> {
    let (domain, tracker) = party(&node, &asker, id, Role::Target)?;
    if let Some(verdict) = verdict(&tracker) {
        return Ok(Json(verdict));
    }
    let keeper = node.keeper(&domain.to_string())?;
    let Pledge { token, nothing_left } = pledge;
    let heard = keeper.ask(|reply| Ask::Arriving(Said::Pledge { token, nothing_left, reply })).await;
    match heard {
        Some(verdict) => Ok(Json(verdict?)),
        // The task ended while the question was on its way: its end is the answer.
        None => Ok(Json(verdict(&tracker).ok_or(Failure::Stopping)?)),
    }
}
