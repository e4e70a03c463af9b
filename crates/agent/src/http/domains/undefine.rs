//! `DELETE /domains/{domain}`.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Forgets a definition; a running domain goes on and is forgotten when it ends.
#[utoipa::path(delete, path = "/domains/{domain}", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn undefine(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<StatusCode, Refusal> {
    node.ask(&domain, Ask::Undefine).await?;
    Ok(StatusCode::NO_CONTENT)
}
