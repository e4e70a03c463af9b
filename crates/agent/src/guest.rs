//! A domain with a QEMU process on this host: how it is started, what is remembered of it while it lives, how
//! everything is given back. Main type: [`Guest`].

use std::path::{Path, PathBuf};

use domain::{
    CpuMode, Definition, DiskFormat, DiskSource, Domain, FileRole, FileUse, Kind, Listen, MemballoonModel,
    Protocol,
};
use migration::RunRight;
use migration::owner::OwnerRecord;
use network::Port;
use qemu::accelerator::Accelerator;
use qemu::capabilities::cpu::expand_host_model;
use qemu::command::{Balloon, Cont, QomSet, SetLink};
use qemu::command_line::{BALLOON, CommandLine, Launch, device_id, missing_devices};
use qemu::firmware::Descriptions;
use qemu::process::{Process, swtpm};
use serde::{Deserialize, Serialize};
use storage::ImageFormat;
use uuid::Uuid;

use crate::allocate::tap_name;
use crate::disks;
use crate::failure::{CopyFailure, Failure};
use crate::limits::SPICE_PORTS;
use crate::networks::bridge_of;
use crate::node::Node;
use crate::nonvolatile;
use crate::tracker::now;

/// Name of the [`GuestRecord`] in the run directory.
pub(crate) const RECORD: &str = "guest.json";

/// Devices that give nothing but random bytes.
const ENTROPY: [&str; 3] = ["/dev/random", "/dev/urandom", "/dev/hwrng"];

/// A domain that has a QEMU here, and the right to run it.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) process: Process,
    pub(crate) right: RunRight,
    pub(crate) record: GuestRecord,
    pub(crate) definition: Definition,
}

/// What is remembered of a guest as long as its QEMU lives, so that a restarted agent can take it up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestRecord {
    pub(crate) uuid: Uuid,
    pub(crate) generation: u64,
    pub(crate) emulator: PathBuf,
    pub(crate) kvm: bool,
    pub(crate) taps: Vec<String>,
    pub(crate) owner_record: Option<PathBuf>,
    /// What was made here for its arrival, besides the run directory; it goes if the guest never runs here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) made: Vec<PathBuf>,
    /// Disks, by the guest's names, that came with it while it worked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copied: Vec<String>,
    pub(crate) started_at: String,
    /// The live definition: frozen, its CPU model expanded.
    pub(crate) xml: String,
}

impl GuestRecord {
    /// What a guest of `definition` will be on this host.
    pub(crate) fn new(node: &Node, definition: &Definition, generation: u64) -> Result<Self, Failure> {
        let domain = definition.domain();
        let uuid = frozen_uuid(domain);
        Ok(GuestRecord {
            uuid,
            generation,
            emulator: node.emulator(domain)?.to_owned(),
            kvm: domain.kind == Kind::Kvm,
            taps: (0..domain.interfaces.len()).map(|index| tap_name(uuid, index)).collect(),
            owner_record: owner_path(domain),
            made: Vec::new(),
            copied: Vec::new(),
            started_at: now(),
            xml: definition.xml().to_owned(),
        })
    }

    /// With the place of its owner record, where an earlier version knew none for disks like these.
    pub(crate) fn with_owner_path(self, domain: &Domain) -> Self {
        let owner_record = self.owner_record.or_else(|| owner_path(domain));
        GuestRecord { owner_record, ..self }
    }
}

/// The UUID that every stored definition has.
pub(crate) fn frozen_uuid(domain: &Domain) -> Uuid {
    domain.uuid.expect("a frozen definition has a UUID")
}

/// Where the owner record of a domain lies: beside the first file that it alone may write as a disk, else beside the first
/// that QEMU reaches by its own NFS client (`nfs://HOST/PATH`). There is no place beside a block device.
pub(crate) fn owner_path(domain: &Domain) -> Option<PathBuf> {
    let alone = domain.disks.iter().filter(|disk| disk.is_writable_alone());
    let mut over_nfs = None;
    for source in alone.filter_map(|disk| disk.source.as_ref()) {
        match source {
            DiskSource::File(path) => return Some(storage::owner_path(path)),
            DiskSource::Nfs { .. } if over_nfs.is_none() => {
                over_nfs = Some(storage::owner_path(Path::new(&source.to_string())));
            }
            DiskSource::Nfs { .. } | DiskSource::Block(_) => {}
        }
    }
    over_nfs
}

/// A disk that the domain alone writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnDisk {
    /// The guest's name for it, as in `vda`.
    pub(crate) target: String,
    pub(crate) path: PathBuf,
    pub(crate) format: DiskFormat,
    /// Whether it is a block device, not a file.
    pub(crate) block: bool,
}

impl OwnDisk {
    /// As `storage` calls it.
    pub(crate) fn image_format(&self) -> ImageFormat {
        match self.format {
            DiskFormat::Qcow2 => ImageFormat::Qcow2,
            DiskFormat::Raw => ImageFormat::Raw,
        }
    }
}

/// The disks that a domain alone writes: what is not shared, and not read-only.
///
/// # Errors
/// [`CopyFailure::DiskElsewhere`]: one of them is not a file or device of this host.
pub(crate) fn own_disks(domain: &Domain) -> Result<Vec<OwnDisk>, Failure> {
    let own = domain.disks.iter().filter(|disk| disk.is_writable_alone());
    let own = own.filter_map(|disk| {
        let (target, format) = (disk.target.clone(), disk.format);
        let (path, block) = match disk.source.as_ref()? {
            DiskSource::File(path) => (path.clone(), false),
            DiskSource::Block(path) => (path.clone(), true),
            DiskSource::Nfs { .. } => {
                return Some(Err(Failure::Copy(CopyFailure::DiskElsewhere { disk: target })));
            }
        };
        Some(Ok(OwnDisk { target, path, format, block }))
    });
    own.collect()
}

/// Reads an owner record; none where there is none.
pub(crate) async fn read_owner(path: &Path) -> Result<Option<OwnerRecord>, Failure> {
    let Some(bytes) = storage::read_record(path).await? else { return Ok(None) };
    OwnerRecord::from_bytes(&bytes)
        .map(Some)
        .map_err(|source| Failure::Record { path: path.to_owned(), source })
}

/// Changes the owner record, where the domain has a disk that it lies beside and `change` has something to change.
pub(crate) async fn change_owner(
    path: Option<&Path>,
    change: impl FnOnce(OwnerRecord) -> Option<OwnerRecord>,
) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    if let Some(changed) = read_owner(path).await?.and_then(change) {
        storage::write_record(path, &changed.to_bytes()).await?;
    }
    Ok(())
}

/// Writes what an earlier write may have missed while storage was away: the record of a guest that runs here names this
/// host.
pub(crate) async fn mend_owner(node: &Node, guest: &GuestRecord) -> Result<(), Failure> {
    let (domain, host, generation) = (guest.uuid, node.config.host.clone(), guest.generation);
    own(guest.owner_record.as_deref(), &OwnerRecord { domain, host, generation, offered: None }).await
}

/// Writes that a domain is its holder's: over an offer to the holder, over one that the holder made in vain, and where
/// there is no record. A guest that an earlier version has started has none beside a disk on an NFS server.
pub(crate) async fn own(path: Option<&Path>, holder: &OwnerRecord) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let Some(found) = read_owner(path).await? else {
        return Ok(storage::create_record(path, &holder.to_bytes()).await?);
    };
    let (host, generation) = (&holder.host, holder.generation);
    if let Some(changed) = found.handed(host, generation).or_else(|| found.withdrawn(host, generation)) {
        storage::write_record(path, &changed.to_bytes()).await?;
    }
    Ok(())
}

/// Whether this host may open and run what a definition names.
pub(crate) fn check_paths(node: &Node, domain: &Domain) -> Result<(), Failure> {
    node.emulator(domain)?;
    match forbidden(node, domain).into_iter().next() {
        None => Ok(()),
        Some(path) => Err(Failure::PathNotAllowed { path, allowed: node.config.allowed_paths.clone() }),
    }
}

/// The files of a definition that this host may not open.
pub(crate) fn forbidden(node: &Node, domain: &Domain) -> Vec<PathBuf> {
    // Firmware that the host's packages describe is as good as allowed.
    let firmware = descriptions();
    let allowed = |file: &FileUse<'_>| match file.role {
        FileRole::Emulator => true,
        FileRole::Entropy => ENTROPY.iter().any(|path| file.path == Path::new(path)),
        FileRole::Firmware => firmware.name(file.path) || node.allows(file.path),
        FileRole::Boot | FileRole::Nvram | FileRole::Disk | FileRole::Character => node.allows(file.path),
    };
    domain.files().into_iter().filter(|file| !allowed(file)).map(|file| file.path.to_owned()).collect()
}

/// The firmware that this host has.
pub(crate) fn descriptions() -> Descriptions {
    Descriptions::read().unwrap_or_else(|error| {
        tracing::warn!("the descriptions of this host's firmware cannot be read: {error}");
        Descriptions::default()
    })
}

/// Whether the emulator here has every device that a frozen definition needs.
pub(crate) async fn check_devices(node: &Node, domain: &Domain) -> Result<(), Failure> {
    let capabilities = node.capabilities(node.emulator(domain)?).await?;
    let missing = missing_devices(domain, &capabilities)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::DevicesMissing { host: node.config.host.clone(), missing })
}

/// A free port for a SPICE screen whose definition names none.
fn spice_port(domain: &Domain) -> Result<Option<u16>, Failure> {
    let open = domain.graphics.iter().find_map(|graphics| match (&graphics.protocol, &graphics.listen) {
        (Protocol::Spice { .. }, Listen::Address(listen)) if graphics.port.is_none() => Some(listen),
        (Protocol::Spice { .. } | Protocol::Vnc { .. }, _) => None,
    });
    let Some(listen) = open else { return Ok(None) };
    let free = |port: &u16| std::net::TcpListener::bind((listen.as_str(), *port)).is_ok();
    let port =
        SPICE_PORTS.clone().find(free).ok_or_else(|| Failure::NoSpicePort { listen: listen.clone() })?;
    Ok(Some(port))
}

/// Starts a domain afresh and continues it. Whatever was made is given back when a step fails.
pub(crate) async fn start(node: &Node, definition: &Definition) -> Result<Guest, Failure> {
    check_paths(node, definition.domain())?;
    let definition = &disks::without_missing_media(definition).await?;
    let domain = definition.domain();
    if domain.kind == Kind::Kvm
        && let Err(reason) = node.kvm().await
    {
        return Err(Failure::KvmUnusable { host: node.config.host.clone(), reason });
    }
    disks::check(node, domain).await?;
    for interface in &domain.interfaces {
        if let Some(bridge) = bridge_of(&node.config, &interface.source)? {
            node.network.bridge(&bridge).await?;
        }
    }
    check_devices(node, domain).await?;
    let right = claim(node, domain).await?;
    let live = expand_cpu(node, definition).await?;
    let record = GuestRecord::new(node, &live, right.generation())?;
    let process = launch(node, &live, &record, Port::Open, false).await?;
    if let Err(failure) = begin(&process, live.domain()).await {
        give_back(node, &record, Some(&process)).await;
        return Err(failure);
    }
    Ok(Guest { process, right, record, definition: live })
}

/// Asks the owner record whether this host may start the domain, or give it away. The first to do so makes the record; of two hosts
/// that try at once, one finds it made.
pub(crate) async fn claim(node: &Node, domain: &Domain) -> Result<RunRight, Failure> {
    let path = owner_path(domain);
    loop {
        let found = match &path {
            Some(path) => read_owner(path).await?,
            None => None,
        };
        let (right, claimed) = OwnerRecord::claim(found.as_ref(), frozen_uuid(domain), &node.config.host)
            .map_err(|source| Failure::Fenced { domain: domain.name.clone(), source })?;
        let (Some(path), None) = (&path, found) else { return Ok(right) };
        match storage::create_record(path, &claimed.to_bytes()).await {
            // Somebody made it in this moment: it says who.
            Err(storage::RecordError::Exists { .. }) => {}
            made => return made.map(|()| right).map_err(Failure::from),
        }
    }
}

/// Replaces `host-model` by what it means on this host, so that the meaning travels with the guest.
async fn expand_cpu(node: &Node, definition: &Definition) -> Result<Definition, Failure> {
    let domain = definition.domain();
    let host_model = domain.cpu.as_ref().is_some_and(|cpu| cpu.mode == CpuMode::HostModel);
    if !host_model {
        return Ok(definition.clone());
    }
    let model = expand_host_model(node.emulator(domain)?, accelerator(domain.kind == Kind::Kvm)).await?;
    definition.with_cpu_model(&model.cpu).map_err(Failure::Definition)
}

/// What a guest runs with.
pub(crate) fn accelerator(kvm: bool) -> Accelerator {
    if kvm { Accelerator::Kvm } else { Accelerator::Tcg }
}

/// Whether a guest's packets go through the kernel's vhost-net.
pub(crate) fn vhost(record: &GuestRecord) -> bool {
    record.kvm && Path::new("/dev/vhost-net").exists()
}

/// Starts a guest's QEMU, stopped, and puts its taps on their bridges.
pub(crate) async fn launch(
    node: &Node,
    definition: &Definition,
    record: &GuestRecord,
    port: Port,
    incoming: bool,
) -> Result<Process, Failure> {
    let domain = definition.domain();
    let run_directory = node.store.run_directory(record.uuid);
    let line = CommandLine::new(&Launch {
        domain,
        accelerator: accelerator(record.kvm),
        cpu: None,
        run_directory: &run_directory,
        taps: &record.taps,
        spice_port: spice_port(domain)?,
        vhost: vhost(record),
        incoming,
        now: &jiff::Zoned::now(),
    })?;
    if let Some(process) = Process::find(&run_directory).await? {
        return Err(Failure::StillRuns { domain: domain.name.clone(), pid: process.pid() });
    }
    node.store.write_run(record.uuid, RECORD, record)?;
    let log = node.store.log_path(&domain.name);
    let spawned = async {
        nonvolatile::prepare(node, domain, record, incoming).await?;
        Ok(Process::spawn(&record.emulator, &line, &run_directory, &log).await?)
    };
    let process = match spawned.await {
        Ok(process) => process,
        Err(failure) => {
            give_back(node, record, None).await;
            return Err(failure);
        }
    };
    match plug_in(node, domain, record, &process, port).await {
        Ok(()) => Ok(process),
        Err(failure) => {
            give_back(node, record, Some(&process)).await;
            Err(failure)
        }
    }
}

/// Puts a guest's taps on their bridges, and pulls the cables that the definition has pulled.
async fn plug_in(
    node: &Node,
    domain: &Domain,
    record: &GuestRecord,
    process: &Process,
    port: Port,
) -> Result<(), Failure> {
    for (place, (tap, interface)) in record.taps.iter().zip(&domain.interfaces).enumerate() {
        if let Some(bridge) = bridge_of(&node.config, &interface.source)? {
            node.network.join(tap, &bridge, interface.mtu, port).await?;
        }
        if !interface.link_up {
            process.qmp.execute(SetLink { name: device_id(domain, place), up: false }).await?;
        }
    }
    Ok(())
}

/// Lets a fresh guest go.
async fn begin(process: &Process, domain: &Domain) -> Result<(), Failure> {
    watch_balloon(process, domain).await;
    let balloon = domain.memballoon.as_ref().is_some_and(|balloon| balloon.model == MemballoonModel::Virtio);
    if balloon && domain.current_memory < domain.memory {
        process.qmp.execute(Balloon { value: domain.current_memory.0 }).await?;
    }
    process.qmp.execute(Cont).await?;
    Ok(())
}

/// Has QEMU ask the guest for the figures of its memory, where the definition wants them.
pub(crate) async fn watch_balloon(process: &Process, domain: &Domain) {
    let Some(period) = domain.memballoon.and_then(|balloon| balloon.stats_period_s) else { return };
    let set = QomSet {
        path: format!("/machine/peripheral/{BALLOON}"),
        property: "guest-stats-polling-interval",
        value: period.into(),
    };
    if let Err(error) = process.qmp.execute(set).await {
        tracing::warn!(domain = domain.name, "the guest's memory is not watched: {error}");
    }
}

/// Ends a QEMU for good and removes everything that was made for it. Never stops at its first error.
pub(crate) async fn give_back(node: &Node, record: &GuestRecord, process: Option<&Process>) {
    if let Some(process) = process {
        process.kill();
        process.exited().await;
    }
    // It goes with its QEMU; this is for one whose QEMU never came.
    swtpm::end(&node.store.run_directory(record.uuid)).await;
    for tap in &record.taps {
        // QEMU's taps go with it; this is for one that did not.
        if let Err(error) = node.network.remove(tap).await {
            tracing::warn!(tap, "a tap was left behind: {error}");
        }
    }
    if let Err(error) = node.store.remove_run_directory(record.uuid) {
        tracing::warn!("a run directory was left behind: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(host: &str, generation: u64) -> OwnerRecord {
        OwnerRecord { domain: Uuid::from_u128(1), host: host.to_owned(), generation, offered: None }
    }

    async fn check(found: Option<OwnerRecord>, expect: &OwnerRecord) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("web1.qcow2.ferry");
        if let Some(found) = found {
            std::fs::write(&path, found.to_bytes()).unwrap();
        }
        own(Some(&path), &record("kvm1", 3)).await.unwrap();
        assert_eq!(read_owner(&path).await.unwrap().as_ref(), Some(expect));
    }

    #[tokio::test]
    async fn who_runs_a_guest_owns_it() {
        check(None, &record("kvm1", 3)).await;
        check(Some(record("kvm1", 3)), &record("kvm1", 3)).await;
        check(Some(record("kvm1", 3).offer("kvm2")), &record("kvm1", 3)).await;
        check(Some(record("kvm2", 2).offer("kvm1")), &record("kvm1", 3)).await;
        check(Some(record("kvm2", 4)), &record("kvm2", 4)).await;
    }

    #[test]
    fn a_guest_of_an_earlier_version_learns_where_its_record_lies() {
        let xml = "<domain type='qemu'><name>web1</name><memory>1024</memory><os><type arch='x86_64'>hvm</type></os>\
                   <devices><disk type='network'><source protocol='nfs' name='/share/a.qcow2'><host name='nfs1'/>\
                   </source><target dev='vda'/></disk></devices></domain>";
        let definition = Definition::parse(xml).unwrap();
        let guest = GuestRecord {
            uuid: Uuid::from_u128(1),
            generation: 1,
            emulator: PathBuf::new(),
            kvm: false,
            taps: Vec::new(),
            owner_record: None,
            made: Vec::new(),
            copied: Vec::new(),
            started_at: String::new(),
            xml: String::new(),
        };
        let expect = Path::new("nfs://nfs1/share/a.qcow2.ferry");
        assert_eq!(guest.with_owner_path(definition.domain()).owner_record.as_deref(), Some(expect));
    }
}
