//! Asks everything that is measured: the kernel, each domain's task, the migrations' stories. It changes nothing. Main
//! functions: [`gather`], and [`measure`] for one domain.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::{Measured, Measures};
use crate::failure::Failure;
use crate::keeper::{Ask, KeeperHandle};
use crate::node::Node;

/// Measures this host.
pub(crate) async fn gather(node: &Node) -> Result<Measured, Failure> {
    let facts = host::Facts::read()?;
    let counters = counters();
    let keepers = node.keepers();
    let domains = join_all(keepers.iter().map(|keeper| measure(keeper, &counters))).await;
    let begun_here = node.migrations().into_iter().filter(crate::tracker::Tracker::began_here);
    Ok(Measured {
        host: node.config.host.clone(),
        version: env!("CARGO_PKG_VERSION"),
        cpus: facts.cpus,
        memory_total: facts.memory_total,
        memory_available: facts.memory_available,
        domains: domains.into_iter().flatten().collect(),
        migrations: begun_here.map(|tracker| (tracker.migration(), tracker.figures())).collect(),
    })
}

/// What went through every tap; nothing where that cannot be read.
pub(crate) fn counters() -> HashMap<String, network::Counters> {
    network::counters().unwrap_or_else(|error| {
        tracing::warn!("the interfaces' counters cannot be read: {error}");
        HashMap::new()
    })
}

/// Measures a domain; none where its task has ended meanwhile.
pub(crate) async fn measure(
    keeper: &KeeperHandle,
    counters: &HashMap<String, network::Counters>,
) -> Option<Measures> {
    let shown = keeper.ask(Ask::Show).await?.ok()?;
    let mut figures = keeper.ask(Ask::Figures).await?.ok()?;
    if let Some(pid) = shown.pid {
        let time =
            |(number, thread): &(u32, u32)| Some((*number, host::thread_time(pid, *thread)?.as_secs_f64()));
        figures.vcpus_s = figures.vcpu_threads.iter().filter_map(time).collect();
    }
    let taps = shown.interfaces.iter().filter_map(|interface| interface.tap.clone());
    Some(Measures {
        cpu_s: shown.pid.and_then(host::process_time).map(|time| time.as_secs_f64()),
        taps: taps.filter_map(|tap| counters.get(&tap).map(|seen| (tap, *seen))).collect(),
        figures,
        shown,
    })
}
