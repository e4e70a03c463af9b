//! `POST /domains/{domain}/migrations`.

use std::sync::Arc;

use api::{CheckMode, CheckRequest, MigrationRequest, MigrationStarted};
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
    if !request.offline
        && let Some(wish) = only_shut_off(&request)
    {
        return Err(Failure::from(CarryFailure::GuestRuns { wish }).into());
    }
    let asked = CheckRequest {
        mode: Some(if request.offline { CheckMode::Offline } else { CheckMode::Live }),
        skip: request.skip.clone(),
        channels: request.channels,
        plaintext: request.plaintext,
        copy_storage: request.copy_storage.clone(),
        maps: request.maps.clone(),
        identity: request.identity.clone(),
        ..CheckRequest::to(&request.to)
    };
    let checked = finish(preflight::check_first(Arc::clone(&node), domain.clone(), asked)).await?;
    let (report, placing) = checked.map(|checked| (checked.report, checked.placing)).unzip();
    let warnings = report.map(preflight::permitted).transpose()?.unwrap_or_default();
    let id = match (request.offline, placing) {
        (true, Some(placing)) => {
            let placing = Box::new(placing);
            node.ask(&domain, |reply| Ask::MigrateOffline(request, warnings, placing, reply)).await?
        }
        (true, None) => return Err(silent(&node, &domain, &request.to).await.into()),
        (false, _) => node.ask(&domain, |reply| Ask::Migrate(request, warnings, reply)).await?,
    };
    Ok((StatusCode::ACCEPTED, Json(MigrationStarted { id })))
}

/// What a guest that works does not take along yet, or not change on its way.
fn only_shut_off(request: &MigrationRequest) -> Option<&'static str> {
    let wishes = [
        (request.copy_storage.is_some(), "its disks cannot go along"),
        (!request.maps.is_empty(), "its disks and bridges cannot be called otherwise on the target"),
        (!request.identity.is_same(), "it cannot become another domain"),
    ];
    wishes.into_iter().find_map(|(wished, wish)| wished.then_some(wish))
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
