//! What a domain wants of a host, read from its definition. It asks nobody. Main function: [`wants`].

use domain::{CharacterBackend, CpuMode, Domain, Kind};
use migration::preflight::{DomainDisk, DomainFacts, LocalCharacter};

use crate::disks::image_format;
use crate::guest::frozen_uuid;

/// The name of the guest agent's channel (docs/interop/qemu-ga.rst of QEMU).
const AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";

/// What a frozen definition wants.
pub(super) fn wants(domain: &Domain, live: bool, channels: u8, encrypted: bool) -> DomainFacts {
    let hugepages = domain.memory_backing.hugepages;
    let local = domain.streams().filter_map(|(backend, _)| match backend {
        CharacterBackend::File { path, append } => Some((path, false, *append)),
        CharacterBackend::Device(path) => Some((path, true, false)),
        CharacterBackend::Pty
        | CharacterBackend::Null
        | CharacterBackend::Pipe(_)
        | CharacterBackend::Unix { .. }
        | CharacterBackend::Tcp { .. }
        | CharacterBackend::Udp { .. }
        | CharacterBackend::SpiceVmc
        | CharacterBackend::SpicePort(_)
        | CharacterBackend::Vdagent { .. } => None,
    });
    DomainFacts {
        name: domain.name.clone(),
        uuid: frozen_uuid(domain),
        machine: domain.os.machine.clone(),
        memory_bytes: domain.memory.0,
        hugepage_bytes: hugepages.map(|pages| pages.size.map_or(0, |size| size.0)),
        vcpus: domain.vcpus,
        kvm: domain.kind == Kind::Kvm,
        host_cpu: sees_host_cpu(domain),
        live,
        channels,
        encrypted,
        host_devices: domain.hostdevs.iter().map(|hostdev| hostdev.source.to_string()).collect(),
        local_characters: local
            .map(|(path, device, append)| LocalCharacter { path: path.display().to_string(), device, append })
            .collect(),
        user_networking: domain.interfaces.iter().any(|interface| !interface.source.has_tap()),
        disks: domain.disks.iter().filter(|disk| disk.source.is_some()).map(wanted_disk).collect(),
        agent_channel: agent_channel(domain).is_some(),
        ..DomainFacts::default()
    }
}

fn wanted_disk(disk: &domain::Disk) -> DomainDisk {
    DomainDisk {
        name: disk.target.clone(),
        writable: !disk.readonly,
        format: image_format(disk).to_string(),
        cache: disk.driver.cache.map(|cache| cache.to_string()),
    }
}

/// Whether the guest sees the host's own CPU, or all that the accelerator can do.
pub(super) fn sees_host_cpu(domain: &Domain) -> bool {
    let mode = domain.cpu.as_ref().map(|cpu| &cpu.mode);
    matches!(mode, Some(CpuMode::HostPassthrough { .. } | CpuMode::Maximum { .. }))
}

/// The place of the guest agent's channel among the domain's channels.
pub(crate) fn agent_channel(domain: &Domain) -> Option<usize> {
    domain.channels.iter().position(|channel| channel.name == AGENT_CHANNEL)
}
