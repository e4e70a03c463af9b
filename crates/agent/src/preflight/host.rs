//! This host's own facts: processors, memory, clock, certificate, room. Main function: [`gather`].

use api::{CertificateFacts, HostFacts, HugepageFacts, UnknownFact};
use domain::Domain;

use super::{bridges, disks, known, within};
use crate::failure::Failure;
use crate::node::Node;
use crate::tracker::unix_ms;

/// Everything about this host; its QEMU is asked meanwhile, by `asked`.
pub(super) async fn gather<T>(
    node: &Node,
    domain: &Domain,
    asked: impl Future<Output = (HostFacts, T)>,
) -> (HostFacts, T) {
    let ((qemu, more), disks, bridges) =
        tokio::join!(asked, disks::look(node, domain), within("bridges", bridges::look(node, domain)));
    let mut unknown = Vec::new();
    let read =
        known(read().map_err(|reason| UnknownFact { what: "processors".into(), reason }), &mut unknown);
    let read = read.as_ref();
    unknown.extend(qemu.unknown);
    let mut or_unknown = |what: &str, known: bool| {
        let reason = "the system does not say".to_owned();
        unknown.extend((!known).then(|| UnknownFact { what: what.to_owned(), reason }));
    };
    let (clock_source, certificate) = (::host::clock_source(), certificate(node));
    let state_free_bytes = ::host::free_space(&node.config.state_dir).ok();
    or_unknown("the clock source", clock_source.is_some());
    or_unknown("the host's certificate", certificate.is_some());
    or_unknown("free space for the agent's own files", state_free_bytes.is_some());
    let facts = HostFacts {
        host: node.config.host.clone(),
        arch: read.map(|facts| facts.machine_arch.clone()),
        cpu_vendor: read.map(|facts| facts.cpu_vendor.clone()),
        cpu_model: read.map(|facts| facts.cpu_model.clone()),
        cpu_features: qemu.cpu_features,
        nx: read.map(|facts| facts.nx),
        cpus: read.map(|facts| facts.cpus),
        clock_source,
        now_ms: Some(unix_ms()),
        memory_available_bytes: read.map(|facts| facts.memory_available),
        hugepage_default_bytes: ::host::hugepage_default(),
        hugepages: ::host::hugepages()
            .into_iter()
            .map(|pages| HugepageFacts { size_bytes: pages.size_bytes, total: pages.total, free: pages.free })
            .collect(),
        descriptors_max: ::host::descriptors_max(),
        state_free_bytes,
        certificate,
        qemu_version: qemu.qemu_version,
        migrate_capabilities: qemu.migrate_capabilities,
        cpu_unavailable: qemu.cpu_unavailable,
        disks,
        bridges: known(bridges, &mut unknown).unwrap_or_default(),
        unknown,
    };
    (facts, more)
}

fn read() -> Result<::host::Facts, String> {
    ::host::Facts::read().map_err(|error| Failure::from(error).chain())
}

fn certificate(node: &Node) -> Option<CertificateFacts> {
    let pem = std::fs::read(node.config.tls_dir.join("host.pem")).ok()?;
    let described = client::tls::describe(&pem)?;
    Some(CertificateFacts { from_s: described.from_s, until_s: described.until_s })
}
