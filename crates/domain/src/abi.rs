//! What of two domains the guest would see as different hardware: [`AbiDifference`]. A running guest can only go on
//! in a domain without any. It never looks at what stays on the host: names of taps, paths, caches.

use std::fmt::Debug;

use crate::character::ConsoleTarget;
use crate::controller::{ControllerModel, ScsiDriver};
use crate::cpu::{AddressBits, CacheMode, Cpu, CpuMode};
use crate::device::Memballoon;
use crate::disk::DiskDriver;
use crate::domain::Domain;
use crate::features::Features;
use crate::firmware::LoaderKind;
use crate::interface::InterfaceDriver;
use crate::memory::NumaCell;

/// One thing that the guest would see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbiDifference {
    /// What differs: `/domain/devices/disk[2]/serial`.
    pub element: String,
    /// What this domain has; for people.
    pub this: String,
    /// What the other domain has; for people.
    pub other: String,
}

impl Domain {
    /// What the guest would see as different hardware if it went on in the other domain. Both frozen, and with the
    /// CPU spelled out: else two readings of `host-model` or `q35` look the same and are not.
    pub fn guest_abi_differences(&self, other: &Domain) -> Vec<AbiDifference> {
        let mut found = Differences(Vec::new());
        found.compare("/domain/uuid", &self.uuid, &other.uuid);
        found.compare("/domain/memory", &self.memory, &other.memory);
        found.compare("/domain/cpu/numa", &cells(self), &cells(other));
        found.compare("/domain/vcpu", &self.vcpus, &other.vcpus);
        found.compare("/domain/cpu/topology", &self.topology(), &other.topology());
        found.compare("/domain/cpu/cache", &cache(self), &cache(other));
        found.compare("/domain/cpu/maxphysaddr", &address_bits(self), &address_bits(other));
        found.compare("/domain/cpu", &processor(self), &processor(other));
        found.compare("/domain/os/type/@machine", &self.os.machine, &other.os.machine);
        found.compare("/domain/os/loader", &loader(self), &loader(other));
        found.compare("/domain/sysinfo", &self.system_information, &other.system_information);
        found.compare("/domain/features", &seen_features(self), &seen_features(other));
        found.compare("/domain/clock", &self.clock, &other.clock);
        found.compare("/domain/pm", &self.pm, &other.pm);
        found.devices(self, other);
        found.0
    }
}

/// The features as the guest sees them, whatever their order.
fn seen_features(domain: &Domain) -> Features {
    let mut seen = domain.features.clone();
    (seen.apic, seen.pae, seen.tb_cache) = (false, false, None);
    seen.kvm.dirty_ring = None;
    seen.hyperv.features.retain(|(_, on)| *on);
    seen.hyperv.features.sort_by_key(|(feature, _)| feature.as_str());
    seen
}

/// The processor as the guest sees it, whatever the order of the features.
fn processor(domain: &Domain) -> (CpuMode, Vec<(String, bool)>) {
    let Some(Cpu { mode, features, .. }) = &domain.cpu else { return (CpuMode::Default, Vec::new()) };
    let mut features: Vec<_> = features.iter().map(|it| (it.name.clone(), it.policy.enabled())).collect();
    features.sort();
    (mode.clone(), features)
}

/// The NUMA nodes without what the host does about them.
fn cells(domain: &Domain) -> Vec<NumaCell> {
    let seen = |cell: &NumaCell| NumaCell { shared: None, discard: false, host_nodes: None, ..cell.clone() };
    domain.numa_cells.iter().map(seen).collect()
}

/// How the machine sees its firmware; the file itself is the host's.
fn loader(domain: &Domain) -> Option<(LoaderKind, bool, bool)> {
    let firmware = &domain.os.firmware;
    let loader = firmware.loader.as_ref()?;
    Some((loader.kind, loader.stateless, firmware.secure == Some(true)))
}

fn cache(domain: &Domain) -> Option<CacheMode> {
    domain.cpu.as_ref().and_then(|cpu| cpu.cache)
}

fn address_bits(domain: &Domain) -> Option<AddressBits> {
    domain.cpu.as_ref().and_then(|cpu| cpu.address_bits)
}

struct Differences(Vec<AbiDifference>);

impl Differences {
    fn compare<T: PartialEq + Debug>(&mut self, element: &str, this: &T, other: &T) {
        if this != other {
            let (this, other) = (format!("{this:?}"), format!("{other:?}"));
            self.0.push(AbiDifference { element: element.to_owned(), this, other });
        }
    }

    fn lists<T, P: PartialEq + Debug>(
        &mut self,
        name: &str,
        this: &[T],
        other: &[T],
        seen: impl Fn(&T) -> P,
    ) {
        let element = format!("/domain/devices/{name}");
        self.compare(&format!("count({element})"), &this.len(), &other.len());
        for (place, (this, other)) in this.iter().zip(other).enumerate() {
            self.compare(&format!("{element}[{}]", place + 1), &seen(this), &seen(other));
        }
    }

    fn devices(&mut self, this: &Domain, other: &Domain) {
        self.lists("disk", &this.disks, &other.disks, |it| {
            let DiskDriver { discard, queues, queue_size, event_idx, packed, .. } = it.driver;
            let identity = (it.serial.clone(), it.wwn, it.vendor.clone(), it.product.clone());
            let place = (it.bus, it.model, it.address, it.drive, it.usb_address);
            let nature = (it.device, it.readonly, it.rotation_rate, it.removable, it.blockio);
            (place, nature, identity, (discard, queues, queue_size, event_idx, packed))
        });
        self.lists("interface", &this.interfaces, &other.interfaces, |it| {
            let driver = InterfaceDriver { vhost: None, ..it.driver.clone() };
            let rom = (it.rom.bar, it.rom.file.is_some(), it.rom.disabled);
            (it.model, it.mac, it.mtu, driver, rom, it.acpi_index, it.address)
        });
        self.lists("serial", &this.serials, &other.serials, |it| (it.port, it.target));
        self.lists("parallel", &this.parallels, &other.parallels, |it| it.port);
        self.lists("console", &virtio_consoles(this), &virtio_consoles(other), |it| *it);
        self.lists("channel", &this.channels, &other.channels, |it| (it.name.clone(), it.address));
        self.lists("video", &this.videos, &other.videos, Clone::clone);
        self.lists("sound", &this.sounds, &other.sounds, Clone::clone);
        self.lists("hub", &this.hubs, &other.hubs, |it| it.address);
        self.lists("redirdev", &this.redirdevs, &other.redirdevs, |it| it.address);
        self.lists("hostdev", &this.hostdevs, &other.hostdevs, |it| (it.address, it.usb_address));
        self.lists("input", &this.inputs, &other.inputs, Clone::clone);
        let memballoon =
            |domain: &Domain| domain.memballoon.map(|it| Memballoon { stats_period_s: None, ..it });
        self.compare("/domain/devices/memballoon", &memballoon(this), &memballoon(other));
        self.lists("watchdog", &this.watchdogs, &other.watchdogs, |it| (it.model, it.address));
        self.lists("panic", &this.panics, &other.panics, |it| *it);
        self.lists("vsock", &this.vsocks, &other.vsocks, |it| *it);
        self.lists("iommu", &this.iommus, &other.iommus, |it| *it);
        self.lists("tpm", &this.tpms, &other.tpms, |it| (it.model, it.version));
        self.lists("rng", &this.rngs, &other.rngs, |it| it.address);
        let controllers = |domain: &Domain| {
            let mut all: Vec<_> =
                domain.controllers.iter().filter(|it| !it.model.is_built_in()).copied().collect();
            all.sort_by_key(|it| (it.address, it.index));
            all
        };
        self.lists("controller", &controllers(this), &controllers(other), |it| {
            let model = match it.model {
                ControllerModel::PcieRootPort { device, chassis, port } => {
                    format!("{device} chassis {chassis:?} port {port:?}")
                }
                // Which thread serves it is the host's matter.
                ControllerModel::Scsi { model, driver } => {
                    format!("{model} {:?}", ScsiDriver { iothread: None, ioeventfd: None, ..driver })
                }
                other => format!("{other:?}"),
            };
            (it.index, it.address, model)
        });
    }
}

fn virtio_consoles(domain: &Domain) -> Vec<Option<crate::address::VirtioSerialAddress>> {
    let virtio = domain.consoles.iter().filter(|it| it.target == ConsoleTarget::Virtio);
    virtio.map(|it| it.address).collect()
}
