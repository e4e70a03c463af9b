//! `DELETE /agent/migrations/{id}`.

use std::sync::Arc;

use api::{Role, Verdict};
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

/// The domain stays on the source: everything here is given back.
#[utoipa::path(delete, path = "/agent/migrations/{id}", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = Verdict), (status = "4XX", body = api::Problem)))]
pub(crate) async fn abandon(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
) -> Result<Json<Verdict>, Refusal> {
    let (domain, tracker) = party(&node, &asker, id, Role::Target)?;
    if let Some(verdict) = verdict(&tracker) {
        return Ok(Json(verdict));
    }
    let keeper = node.keeper(&domain.to_string())?;
    let heard = keeper.ask(|reply| Ask::Arriving(Said::Abandon { reply })).await;
    match heard {
        Some(verdict) => Ok(Json(verdict?)),
        // The task ended while the question was on its way: its end is the answer.
        None => Ok(Json(verdict(&tracker).ok_or(Failure::Stopping)?)),
    }
}
