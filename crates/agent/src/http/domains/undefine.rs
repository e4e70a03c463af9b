//! `DELETE /domains/{domain}`.

use std::sync::Arc;

use api::Nvram;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;

use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// What becomes of what it leaves.
#[derive(Deserialize)]
pub(crate) struct Leaves {
    nvram: Option<Nvram>,
}

/// Forgets a definition; a running domain goes on and is forgotten when it ends.
#[utoipa::path(delete, path = "/domains/{domain}", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID"),
        ("nvram" = Option<Nvram>, Query, description = "what becomes of its UEFI variables, where it has some")),
    responses((status = 204), (status = "4XX", body = api::Problem)))]
pub(crate) async fn undefine(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Query(leaves): Query<Leaves>,
) -> Result<StatusCode, Refusal> {
    node.ask(&domain, |reply| Ask::Undefine(leaves.nvram, reply)).await?;
    Ok(StatusCode::NO_CONTENT)
}
