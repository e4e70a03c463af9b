//! Gathers what the preflight's rules judge: this host as a target, for one offer. Changes nothing. Main function:
//! [`check`].

use std::path::Path;

use api::{Finding, Offer};
use domain::{CpuMode, Definition, Domain, FileRole, FileUse};
use migration::preflight::{BridgeFault, DiskView, DomainView, Shared, SourceView, TargetView, findings};
use network::NetworkError;
use qemu::capabilities::{Capabilities, ProbeError};
use qemu::command_line::{Cpu, Switch, missing_devices};

use crate::disks::{below, forbidden_below, path_of};
use crate::drive::target::Coming;
use crate::failure::Failure;
use crate::guest::{accelerator, forbidden, frozen_uuid, owner_path, read_owner};
use crate::networks::bridge_of;
use crate::node::{CpuAsked, Node};

/// Checks an offer against this host: what to take in, or every reason not to, at once.
pub(crate) async fn check(node: &Node, offer: &Offer) -> Result<Coming, Failure> {
    let definition = Definition::parse(&offer.xml).map_err(Failure::Definition)?;
    let domain = definition.domain();
    let inactive =
        offer.inactive_xml.as_deref().map(Definition::parse).transpose().map_err(Failure::Definition)?;
    let other = |kept: &Definition| kept.domain().uuid != domain.uuid || kept.domain().name != domain.name;
    if inactive.as_ref().is_some_and(other) {
        return Err(Failure::NotFrozen);
    }
    // Where its emulator is forbidden, the rest is judged by the one that is there, so that all is said at once.
    let emulator = node.emulator(domain).unwrap_or_else(|_forbidden| node.default_emulator());
    let capabilities = node.capabilities(emulator).await?;
    let machine = domain.os.machine.clone();
    let wanted = DomainView {
        name: domain.name.clone(),
        uuid: domain.uuid.ok_or(Failure::NotFrozen)?,
        machine: machine.clone(),
        memory_bytes: domain.memory.0,
        channels: offer.channels,
        encrypted: offer.encrypted,
        generation: offer.generation.saturating_sub(1),
        host_devices: domain.hostdevs.iter().map(|hostdev| hostdev.source.to_string()).collect(),
        user_networking: domain.interfaces.iter().any(|interface| !interface.source.has_tap()),
    };
    let source = SourceView {
        host: offer.source.clone(),
        arch: offer.source_facts.arch.clone(),
        cpu_vendor: offer.source_facts.cpu_vendor.clone(),
        nx: offer.source_facts.nx,
        kvm: offer.source_facts.kvm,
        migrate_capabilities: offer.source_facts.migrate_capabilities.clone(),
    };
    let target = target_view(node, offer, domain, &capabilities, &machine).await?;
    let found: Vec<Finding> = findings(&wanted, &source, &target)
        .into_iter()
        .map(|finding| Finding {
            code: finding.rule.code().to_owned(),
            fatal: finding.fatal,
            message: finding.message,
            mend: finding.mend,
        })
        .collect();
    if found.iter().any(|finding| finding.fatal) {
        return Err(Failure::Preflight { host: node.config.host.clone(), findings: found });
    }
    let warnings = found;
    Ok(Coming { live: definition, inactive, warnings })
}

async fn target_view(
    node: &Node,
    offer: &Offer,
    domain: &Domain,
    capabilities: &Capabilities,
    machine: &str,
) -> Result<TargetView, Failure> {
    let facts = host::Facts::read()?;
    let (name_of_uuid, uuid_of_name) = node.taken(frozen_uuid(domain), &domain.name);
    let mut disks = Vec::new();
    for disk in &domain.disks {
        if let Some(path) = path_of(disk) {
            disks.push(disk_view(node, offer, domain, disk, path).await);
        }
    }
    let mut bridges = Vec::new();
    for interface in &domain.interfaces {
        match bridge_of(&node.config, &interface.source) {
            Ok(None) => {}
            Ok(Some(bridge)) => {
                let fault = match node.network.bridge(&bridge).await {
                    Ok(_) => None,
                    Err(NetworkError::NoSuchLink { .. }) => Some(BridgeFault::Missing),
                    Err(NetworkError::NotABridge { .. }) => Some(BridgeFault::NotABridge),
                    Err(error) => return Err(error.into()),
                };
                bridges.push((bridge, fault));
            }
            Err(Failure::NetworkUnknown { network, .. }) => {
                bridges.push((network, Some(BridgeFault::NetworkUnknown)));
            }
            Err(other) => return Err(other),
        }
    }
    let mut files_missing = Vec::new();
    for file in domain.files().into_iter().filter(|file| is_needed(domain, file)) {
        if storage::open_check(file.path, false).await.is_err() {
            files_missing.push(file.path.to_owned());
        }
    }
    Ok(TargetView {
        host: node.config.host.clone(),
        arch: facts.machine_arch,
        cpu_vendor: facts.cpu_vendor,
        nx: facts.nx,
        kvm_unusable: if offer.source_facts.kvm { node.kvm().await.err() } else { None },
        memory_available_bytes: facts.memory_available,
        has_machine: capabilities.machine(machine).is_some(),
        cpu_features_missing: missing_features(node, offer, domain, capabilities, machine).await?,
        migrate_capabilities: capabilities.migrate_capability_names().map(str::to_owned).collect(),
        same_name: uuid_of_name,
        same_uuid: name_of_uuid.filter(|name| *name != domain.name),
        disks,
        bridges,
        devices_missing: missing_devices(domain, capabilities)?
            .into_iter()
            .map(|it| (it.device, it.mend.to_owned()))
            .collect(),
        files_missing,
        files_forbidden: [forbidden(node, domain), forbidden_below(node, domain).await].concat(),
        emulator_forbidden: node.emulator(domain).err().and_then(|_| domain.emulator.clone()),
    })
}

/// Whether a file must be there before the guest comes. Variables that are there need no template.
fn is_needed(domain: &Domain, file: &FileUse<'_>) -> bool {
    match file.role {
        FileRole::Boot => true,
        FileRole::Firmware => {
            let nvram = domain.os.firmware.nvram.as_ref();
            let is_template = nvram.is_some_and(|nvram| nvram.template.as_deref() == Some(file.path));
            !is_template || nvram.and_then(|nvram| nvram.path.as_deref()).is_some_and(|path| !path.exists())
        }
        FileRole::Nvram => domain.os.firmware.nvram.as_ref().is_some_and(|nvram| nvram.template.is_none()),
        FileRole::Emulator | FileRole::Disk | FileRole::Character | FileRole::Entropy => false,
    }
}

/// Whether a disk can be opened here, and whether it is the very file that the source uses: the source's owner record
/// lies beside it.
async fn disk_view(
    node: &Node,
    offer: &Offer,
    domain: &Domain,
    disk: &domain::Disk,
    path: &Path,
) -> DiskView {
    let fault = match storage::open_check(path, !disk.readonly).await {
        Err(error) => Some(error.to_string()),
        // What is forbidden is not looked into: that is a finding of its own.
        Ok(_) if !node.config.allows(path) => None,
        Ok(_) => below(node, disk, path).await.err().map(|error| error.to_string()),
    };
    let record_path =
        owner_path(domain).filter(|record| *record == storage::owner_path(path) && !disk.readonly);
    let shared = match record_path {
        None => Shared::NotAsked,
        Some(record_path) => match read_owner(&record_path).await {
            Ok(Some(record))
                if Some(record.domain) == domain.uuid
                    && record.host == offer.source
                    && record.generation + 1 == offer.generation =>
            {
                Shared::Proven
            }
            Ok(Some(_) | None) | Err(_) => Shared::Disproven,
        },
    };
    DiskView { path: path.to_owned(), fault, shared }
}

/// Features of the guest's CPU that this host cannot give it.
async fn missing_features(
    node: &Node,
    offer: &Offer,
    domain: &Domain,
    capabilities: &Capabilities,
    machine: &str,
) -> Result<Vec<String>, Failure> {
    let Ok(emulator) = node.emulator(domain) else { return Ok(Vec::new()) };
    if capabilities.machine(machine).is_none() {
        return Ok(Vec::new());
    }
    let passthrough = domain
        .cpu
        .as_ref()
        .is_some_and(|cpu| matches!(cpu.mode, CpuMode::HostPassthrough { .. } | CpuMode::Maximum { .. }));
    if passthrough {
        return Ok(Vec::new());
    }
    let kvm = offer.source_facts.kvm;
    let value = Cpu::new(domain, accelerator(kvm), None)?.value().unwrap_or_default();
    let value = value.to_string_lossy().into_owned();
    let asked =
        CpuAsked { emulator: emulator.to_owned(), kvm, machine: machine.to_owned(), cpu: value.clone() };
    match node.cpu_features_missing(asked).await {
        // This QEMU does not even know the model or one of its features.
        Err(Failure::Probe(ProbeError::Start(_))) => Ok(vec![value]),
        answer => answer,
    }
}

/// The finding that needs no asking.
pub(crate) fn same_host(node: &Node) -> Finding {
    Finding {
        code: migration::preflight::Rule::SameHost.code().to_owned(),
        fatal: true,
        message: format!("source and target are both host {}", node.config.host),
        mend: "name another host with --to".into(),
    }
}
