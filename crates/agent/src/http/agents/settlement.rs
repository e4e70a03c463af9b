//! `GET /agent/migrations/{id}/settlement`.

use std::sync::Arc;

use api::{Outcome, Role, Settlement};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use uuid::Uuid;

use super::party;
use crate::failure::Failure;
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::node::Node;

/// A target asks its source what became of a migration.
#[utoipa::path(get, path = "/agent/migrations/{id}/settlement", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = Settlement), (status = "4XX", body = api::Problem)))]
pub(crate) async fn settlement(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
) -> Result<Json<Settlement>, Refusal> {
    let tracker = match party(&node, &asker, id, Role::Source) {
        Ok((_domain, tracker)) => tracker,
        Err(Failure::MigrationNotFound { .. }) => return Ok(Json(Settlement::Unknown)),
        Err(failure) => return Err(failure.into()),
    };
    let settlement = match tracker.migration().report.outcome {
        None | Some(Outcome::InDoubt) => Settlement::Open,
        Some(Outcome::Moved) => Settlement::Moved,
        // What the target has is another domain, and it was given it as any other.
        Some(Outcome::Copied) => Settlement::Moved,
        Some(Outcome::Kept) => Settlement::Kept,
        Some(Outcome::Lost) => Settlement::Lost,
    };
    Ok(Json(settlement))
}
