//! `GET /agent/migrations/{id}/verified`.

use std::sync::Arc;

use api::{Role, Verified};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use uuid::Uuid;

use super::party;
use crate::http::asker::Asker;
use crate::http::problem::Refusal;
use crate::node::Node;
use crate::verify::verify;

/// What the target sees of the domain that has come.
#[utoipa::path(get, path = "/agent/migrations/{id}/verified", tag = "agents",
    params(("id" = Uuid, Path, description = "the migration")),
    responses((status = 200, body = Verified), (status = "4XX", body = api::Problem)))]
pub(crate) async fn verified(
    State(node): State<Arc<Node>>,
    Extension(asker): Extension<Asker>,
    Path(id): Path<Uuid>,
) -> Result<Json<Verified>, Refusal> {
    let (domain, _tracker) = party(&node, &asker, id, Role::Target)?;
    Ok(Json(verify(&node, domain).await?))
}
