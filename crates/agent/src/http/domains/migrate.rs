//! `POST /domains/{domain}/migrations`.

use std::sync::Arc;

use api::{CheckRequest, MigrationRequest, MigrationStarted};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use crate::failure::{CarryFailure, Failure};
use crate::http::finish::finish;
use crate::http::problem::Refusal;
use crate::keeper::Ask;
use crate::node::Node;
use crate::preflight;

/// Moves a domain. Answers as soon as both hosts have checked everything and the target has made room.
#[utoipa::path(post, path = "/domains/{domain}/migrations", tag = "migrations",
    params(("domain" = String, Path, description = "name or UUID")), request_body = MigrationRequest,
    responses((status = 202, body = MigrationStarted), (status = "4XX", body = api::Problem)))]
pub(crate) async fn migrate(
    State(node): State<Arc<Node>>,
    Path(domain): Path<String>,
    Json(request): Json<MigrationRequest>,
) -> Result<(StatusCode, Json<MigrationStarted>), Refusal> {
    if !request.offline && !request.identity.is_same() {
        return Err(Failure::from(CarryFailure::GuestRuns).into());
    }
    let asked = CheckRequest::of(&request);
    let checked = finish(preflight::check_first(Arc::clone(&node), domain.clone(), asked)).await?;
    let (report, placing) = checked.map(|checked| (checked.report, checked.placing)).unzip();
    let warnings = report.map(preflight::permitted).transpose()?.unwrap_or_default();
    let id = match (request.offline, placing) {
        (true, Some(placing)) => {
            let placing = Box::new(placing);
            node.ask(&domain, |reply| Ask::MigrateOffline(request, warnings, placing, reply)).await?
        }
        (true, None) => return Err(silent(&node, &domain, &request.to).await.into()),
        (false, None) if request.copy_storage.is_some() || !request.maps.is_empty() => {
            return Err(silent(&node, &domain, &request.to).await.into());
        }
        (false, placing) => {
            let changed = request.copy_storage.is_some() || !request.maps.is_empty();
            let placing = placing.filter(|_| changed).map(Box::new);
            node.ask(&domain, |reply| Ask::Migrate(request, warnings, placing, reply)).await?
        }
    };
    Ok((StatusCode::ACCEPTED, Json(MigrationStarted { id })))
}

/// Why a domain that is shut off could not be checked: it cannot move now, or its target gives no answer.
async fn silent(node: &Node, domain: &str, target: &str) -> Failure {
    let asked = async {
        node.ask(domain, Ask::Survey).await?;
        let client = node.neighbours.client(target)?;
        client.connect().await.map_err(|error| Failure::of_host(target, error))
    };
    let last = "it answers now: migrate again".to_owned();
    asked.await.err().unwrap_or_else(|| Failure::TargetSilent { host: target.to_owned(), last })
}
