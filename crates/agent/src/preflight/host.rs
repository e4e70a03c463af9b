//! This host's own facts: processors, memory, clock, certificate, room. Main function: [`gather`].

use api::{CertificateFacts, HostFacts, HugepageFacts};
use domain::Domain;

use super::{bridges, disks, known, within};
use crate::failure::Failure;
use crate::node::Node;
use crate::tracker::unix_ms;

/// Everything about this host but its QEMU, which is given.
pub(super) async fn gather(node: &Node, domain: &Domain, qemu: HostFacts) -> HostFacts {
    let (disks, bridges) =
        tokio::join!(disks::look(node, domain), within("bridges", bridges::look(node, domain)));
    let mut unknown = Vec::new();
    let read =
        known(read().map_err(|reason| api::UnknownFact { what: "processors".into(), reason }), &mut unknown);
    let read = read.as_ref();
    unknown.extend(qemu.unknown);
    HostFacts {
        host: node.config.host.clone(),
        arch: read.map(|facts| facts.machine_arch.clone()),
        cpu_vendor: read.map(|facts| facts.cpu_vendor.clone()),
        cpu_model: read.map(|facts| facts.cpu_model.clone()),
        cpu_flags: read.map(|facts| facts.cpu_flags.clone()).unwrap_or_default(),
        nx: read.map(|facts| facts.nx),
        cpus: read.map(|facts| facts.cpus),
        clock_source: ::host::clock_source(),
        now_ms: Some(unix_ms()),
        memory_available_bytes: read.map(|facts| facts.memory_available),
        hugepage_default_bytes: ::host::hugepage_default(),
        hugepages: ::host::hugepages()
            .into_iter()
            .map(|pages| HugepageFacts { size_bytes: pages.size_bytes, free: pages.free })
            .collect(),
        descriptors_max: ::host::descriptors_max(),
        state_free_bytes: ::host::free_space(&node.config.state_dir).ok(),
        certificate: certificate(node),
        qemu_version: qemu.qemu_version,
        migrate_capabilities: qemu.migrate_capabilities,
        cpu_unavailable: qemu.cpu_unavailable,
        disks,
        bridges: known(bridges, &mut unknown).unwrap_or_default(),
        unknown,
    }
}

fn read() -> Result<::host::Facts, String> {
    ::host::Facts::read().map_err(|error| Failure::from(error).chain())
}

fn certificate(node: &Node) -> Option<CertificateFacts> {
    let pem = std::fs::read(node.config.tls_dir.join("host.pem")).ok()?;
    let described = client::tls::describe(&pem)?;
    Some(CertificateFacts { from_s: described.from_s, until_s: described.until_s })
}
