//! Pools and domains that start when their host boots. An agent that is started again while the host runs starts neither:
//! what an operator has stopped or shut off stays so. Main function: [`start_domains`].

use std::sync::Arc;

use api::DomainState;

use crate::keeper::Ask;
use crate::node::Node;
use crate::pools::ready;

/// Starts what is to be started, once for each boot of the host. What does not start is logged, and the rest goes on.
pub(crate) async fn start_domains(node: Arc<Node>) {
    let boot_id = match host::boot_id() {
        Ok(boot_id) => boot_id,
        Err(error) => return tracing::error!("no domain is started by itself: {error}"),
    };
    if node.store.started_at_boot(&boot_id) {
        return tracing::info!("the host has not booted since: no domain is started by itself");
    }
    ready::start_with_host(&node).await;
    for keeper in node.keepers() {
        let Some(Ok(domain)) = keeper.ask(Ask::Show).await else { continue };
        if !domain.autostart || domain.state != DomainState::ShutOff {
            continue;
        }
        match keeper.ask(Ask::Start).await {
            Some(Ok(_)) | None => {}
            Some(Err(failure)) => {
                tracing::error!(domain = domain.name, "not started with its host: {}", failure.chain());
            }
        }
    }
    if let Err(error) = node.store.write_started_at_boot(&boot_id) {
        tracing::error!("the next agent may start domains that are shut off: {error}");
    }
}
