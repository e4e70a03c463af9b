//! `GET /domains/{domain}/vnc`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use qemu::command::QueryVnc;

use crate::failure::{Failure, ScreenFailure};
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;

/// Where a domain's VNC server listens.
#[utoipa::path(get, path = "/domains/{domain}/vnc", tag = "domains",
    params(("domain" = String, Path, description = "name or UUID")),
    responses((status = 200, body = api::Vnc), (status = "4XX", body = api::Problem)))]
pub(crate) async fn vnc(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
) -> Result<Json<api::Vnc>, Refusal> {
    let guest = node.ask(&domain, Ask::Look).await?;
    let vnc = guest.process.qmp.execute(QueryVnc).await.map_err(Failure::from)?;
    if !vnc.enabled {
        return Err(Failure::Screen(ScreenFailure::NoVnc { domain: guest.name }).into());
    }
    Ok(Json(match vnc.family.as_deref() {
        Some("unix") => api::Vnc { host: None, port: None, socket: vnc.service },
        Some(_) | None => {
            api::Vnc { host: vnc.host, port: vnc.service.and_then(|port| port.parse().ok()), socket: None }
        }
    }))
}
