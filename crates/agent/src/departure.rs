//! A migration from what was asked for to where it begins: everything is checked, then the domain's own task takes it over.
//! Main function: [`depart`].

use std::sync::Arc;

use api::{CheckRequest, MigrationRequest};
use uuid::Uuid;

use crate::failure::{CarryFailure, Failure};
use crate::http::finish::finish;
use crate::keeper::Ask;
use crate::node::Node;
use crate::preflight;

/// Begins a migration. It answers as soon as both hosts have checked everything and the target has made room; where nobody
/// waits for that any more, the domain stays.
pub(crate) async fn depart(
    node: &Arc<Node>,
    domain: &str,
    request: MigrationRequest,
) -> Result<Uuid, Failure> {
    if !request.offline && !request.identity.is_same() {
        return Err(CarryFailure::GuestRuns.into());
    }
    let checking = preflight::check_first(Arc::clone(node), domain.to_owned(), CheckRequest::of(&request));
    let checked = finish(checking).await?;
    let (report, placing) = checked.map(|checked| (checked.report, checked.placing)).unzip();
    let warnings = report.map(preflight::permitted).transpose()?.unwrap_or_default();
    match (request.offline, placing) {
        (true, Some(placing)) => {
            let placing = Box::new(placing);
            node.ask(domain, |reply| Ask::MigrateOffline(Box::new(request), warnings, placing, reply)).await
        }
        (true, None) => Err(silent(node, domain, &request.to).await),
        (false, None) if request.copy_storage.is_some() || !request.maps.is_empty() => {
            Err(silent(node, domain, &request.to).await)
        }
        (false, placing) => {
            let changed = request.copy_storage.is_some() || !request.maps.is_empty();
            let placing = placing.filter(|_| changed).map(Box::new);
            node.ask(domain, |reply| Ask::Migrate(Box::new(request), warnings, placing, reply)).await
        }
    }
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
