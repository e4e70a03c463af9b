//! This host's own facts: processors, memory, clock, certificate, room. Main functions: [`gather`], [`machine`].

use api::{CertificateFacts, HostFacts, HugepageFacts, UnknownFact};
use domain::Domain;

use super::{bridges, disks, known, macs, nfs as servers, within};
use crate::failure::Failure;
use crate::node::Node;
use crate::pools;
use crate::tracker::unix_ms;

/// Flags of `/proc/cpuinfo` of a time stamp counter that neither a change of frequency nor sleep stops.
const TSC_EVEN: [&str; 2] = ["constant_tsc", "nonstop_tsc"];

/// Everything about this host; its QEMU is asked meanwhile, by `asked`. `unused` where nobody may have the disks open.
pub(super) async fn gather<T>(
    node: &Node,
    domain: &Domain,
    unused: bool,
    asked: impl Future<Output = (HostFacts, T)>,
) -> (HostFacts, T) {
    let pools_and_servers = async {
        let pools = pools::list(node).await;
        let servers = servers::look(domain, &pools).await;
        Ok::<_, Failure>((pools, servers))
    };
    let ((qemu, more), disks, bridges, heard, pools) = tokio::join!(
        asked,
        disks::look(node, domain, unused),
        within("bridges", bridges::look(node, domain)),
        within("MAC addresses on the network", macs::heard(node, domain)),
        within("pools and NFS servers", pools_and_servers),
    );
    let machine = machine(&node.config.host);
    let mut unknown = machine.unknown;
    unknown.extend(qemu.unknown);
    let (pools, nfs) = known(pools, &mut unknown).unwrap_or_default();
    let certificate = certificate(node);
    let state_free_bytes = ::host::free_space(&node.config.state_dir).ok();
    unsaid("the host's certificate", certificate.is_some(), &mut unknown);
    unsaid("free space for the agent's own files", state_free_bytes.is_some(), &mut unknown);
    let facts = HostFacts {
        cpu_features: qemu.cpu_features,
        state_free_bytes,
        certificate,
        qemu_version: qemu.qemu_version,
        migrate_capabilities: qemu.migrate_capabilities,
        cpu_unavailable: qemu.cpu_unavailable,
        disks,
        bridges: known(bridges, &mut unknown).unwrap_or_default(),
        macs_heard: known(heard, &mut unknown).unwrap_or_default(),
        pools,
        nfs,
        unknown,
        ..machine
    };
    (facts, more)
}

/// The machine itself and its kernel, under the host's name.
pub(crate) fn machine(host: &str) -> HostFacts {
    let mut unknown = Vec::new();
    let read =
        known(read().map_err(|reason| UnknownFact { what: "processors".into(), reason }), &mut unknown);
    let read = read.as_ref();
    let clock_source = ::host::clock_source();
    unsaid("the clock source", clock_source.is_some(), &mut unknown);
    HostFacts {
        host: host.to_owned(),
        arch: read.map(|facts| facts.machine_arch.clone()),
        cpu_vendor: read.map(|facts| facts.cpu_vendor.clone()),
        cpu_model: read.map(|facts| facts.cpu_model.clone()),
        nx: read.map(|facts| facts.nx),
        cpus: read.map(|facts| facts.cpus),
        clock_source,
        tsc_khz: ::host::tsc_khz(),
        tsc_even: read.map(|facts| TSC_EVEN.iter().all(|flag| facts.cpu_flags.contains(*flag))),
        now_ms: Some(unix_ms()),
        memory_available_bytes: read.map(|facts| facts.memory_available),
        hugepage_default_bytes: ::host::hugepage_default(),
        hugepages: ::host::hugepages()
            .into_iter()
            .map(|pages| HugepageFacts { size_bytes: pages.size_bytes, total: pages.total, free: pages.free })
            .collect(),
        userfaultfd: Some(::host::userfaultfd()),
        descriptors_max: ::host::descriptors_max(),
        unknown,
        ..HostFacts::default()
    }
}

/// What the system does not say is unknown.
fn unsaid(what: &str, said: bool, unknown: &mut Vec<UnknownFact>) {
    let reason = "the system does not say".to_owned();
    unknown.extend((!said).then(|| UnknownFact { what: what.to_owned(), reason }));
}

fn read() -> Result<::host::Facts, String> {
    ::host::Facts::read().map_err(|error| Failure::from(error).chain())
}

fn certificate(node: &Node) -> Option<CertificateFacts> {
    let pem = std::fs::read(node.config.tls_dir.join("host.pem")).ok()?;
    let described = client::tls::describe(&pem)?;
    Some(CertificateFacts { from_s: described.from_s, until_s: described.until_s })
}
