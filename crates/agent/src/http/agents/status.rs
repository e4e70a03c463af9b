//! `GET /agent/migrations/{id}`.

use std::sync::Arc;

use api::{MigrationPhase, Role, TargetPhase, TargetStatus, Verdict};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use uuid::Uuid;

use super::{party, verdict};
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::node::Node;

/// A sign of life of the target.
#[utoipa::path(get, path = "/agent/migrations/{id}", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = TargetStatus), (status = "4XX", body = api::Problem)))]
pub(crate) async fn status(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
) -> Result<Json<TargetStatus>, Refusal> {
    let (_domain, tracker) = party(&node, &asker, id, Role::Target)?;
    let phase = match verdict(&tracker) {
        Some(Verdict::Running { .. } | Verdict::Filling { .. }) => TargetPhase::Running,
        Some(Verdict::Refused { .. }) => TargetPhase::Refused,
        Some(Verdict::Lost { .. }) => TargetPhase::Lost,
        None if tracker.migration().report.phase == MigrationPhase::Granted => TargetPhase::Granted,
        None => TargetPhase::Receiving,
    };
    Ok(Json(TargetStatus { phase }))
}
