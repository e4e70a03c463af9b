//! The small devices: memory balloon, random numbers, watchdogs, panic, vsock, IOMMU.

use std::ffi::OsString;
use std::path::Path;

use domain::{
    Domain, Iommu, MachineFamily, Memballoon, MemballoonModel, PanicModel, PciAddress, Rng, RngBackend,
    WatchdogModel,
};

use super::pci::{explicit, place};
use super::switch::{Device, Properties, Switch};
use super::{CommandLine, CommandLineError};

/// Id of the balloon.
pub const BALLOON: &str = "balloon-0";

/// `-device virtio-balloon-pci`.
#[derive(Clone, Copy, Debug)]
pub struct Balloon {
    balloon: Memballoon,
    address: PciAddress,
    family: MachineFamily,
}

impl Switch for Balloon {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let mut device = Properties::new("virtio-balloon-pci").with("id", BALLOON);
        for (property, on) in [
            ("deflate-on-oom", self.balloon.autodeflate),
            ("free-page-reporting", self.balloon.free_page_reporting),
        ] {
            if on {
                device = device.with_switch(property, true);
            }
        }
        Some(place(device, self.address, self.family).into_os_string())
    }
}

/// `-object` for the host's side of a random number device.
#[derive(Clone, Debug)]
pub struct RngObject<'a> {
    /// Id.
    pub id: String,
    /// File that is read; none: QEMU's own generator.
    pub file: Option<&'a Path>,
}

impl Switch for RngObject<'_> {
    fn name(&self) -> &'static str {
        "-object"
    }

    fn value(&self) -> Option<OsString> {
        let value = match self.file {
            Some(path) => {
                Properties::new("rng-random").with("id", &self.id).with_os("filename", path.as_os_str())
            }
            None => Properties::new("rng-builtin").with("id", &self.id),
        };
        Some(value.into_os_string())
    }
}

/// `-device virtio-rng-pci`.
#[derive(Clone, Debug)]
pub struct Entropy<'a> {
    rng: &'a Rng,
    number: usize,
    object: String,
    address: PciAddress,
    family: MachineFamily,
}

impl Switch for Entropy<'_> {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let rate = self.rng.rate;
        let device = Properties::new("virtio-rng-pci")
            .with("rng", &self.object)
            .with("id", format!("rng-{}", self.number))
            .with_some("max-bytes", rate.map(|rate| rate.bytes))
            .with_some("period", rate.map(|rate| rate.period_ms));
        Some(place(device, self.address, self.family).into_os_string())
    }
}

pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    let family = domain.os.family;
    if domain.features.vmcoreinfo {
        line.push(&Device(Properties::new("vmcoreinfo")));
    }
    match &domain.memballoon {
        Some(Memballoon { model: MemballoonModel::None, .. }) => {}
        Some(balloon @ Memballoon { model: MemballoonModel::Virtio, address, .. }) => {
            let address = explicit(*address, || "the memory balloon".to_owned())?;
            line.push(&Balloon { balloon: *balloon, address, family });
        }
        None => {
            return Err(CommandLineError::NotFrozen { what: "model", of: "the memory balloon".to_owned() });
        }
    }
    for (number, rng) in domain.rngs.iter().enumerate() {
        let address = explicit(rng.address, || format!("random number device {}", number + 1))?;
        let id = format!("rng-object-{number}");
        let file = match &rng.backend {
            RngBackend::Random(path) => Some(path.as_path()),
            RngBackend::Builtin => None,
        };
        line.push(&RngObject { id: id.clone(), file });
        line.push(&Entropy { rng, number, object: id, address, family });
    }
    push_watchdogs(line, domain)?;
    for (number, panic) in domain.panics.iter().enumerate() {
        let id = format!("panic-{number}");
        match panic.model {
            PanicModel::Isa => {
                let device = Properties::new("pvpanic").with("id", id).with_some("ioport", panic.io_port);
                line.push(&Device(device));
            }
            PanicModel::Pvpanic => {
                let address = explicit(panic.address, || "the panic device".to_owned())?;
                line.push(&Device(place(Properties::new("pvpanic-pci").with("id", id), address, family)));
            }
            // A feature of the processor.
            PanicModel::Hyperv => {}
        }
    }
    for vsock in &domain.vsocks {
        let open = || CommandLineError::NotFrozen { what: "address", of: "the vsock".to_owned() };
        let address = explicit(vsock.address, || "the vsock".to_owned())?;
        let device = Properties::new("vhost-vsock-pci").with("id", "vsock-0");
        let device = device.with("guest-cid", domain.vsock_cid(vsock).ok_or_else(open)?);
        line.push(&Device(place(device, address, family)));
    }
    Ok(())
}

fn push_watchdogs(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    for (number, watchdog) in domain.watchdogs.iter().enumerate() {
        let id = format!("watchdog-{number}");
        match watchdog.model {
            // Part of the chipset.
            WatchdogModel::Itco => {}
            WatchdogModel::I6300esb => {
                let address = explicit(watchdog.address, || "the watchdog".to_owned())?;
                let device = Properties::new("i6300esb").with("id", id);
                line.push(&Device(place(device, address, domain.os.family)));
            }
            WatchdogModel::Ib700 => line.push(&Device(Properties::new("ib700").with("id", id))),
        }
    }
    Ok(())
}

/// The IOMMU, which has to be there before any device that it translates for.
pub(super) fn push_iommu(line: &mut CommandLine, domain: &Domain) {
    for iommu in &domain.iommus {
        let Iommu { intremap, caching_mode, eim, iotlb, dma_translation, aw_bits } = *iommu;
        let mut device = Properties::new("intel-iommu").with("id", "iommu-0");
        for (property, on) in [
            ("intremap", intremap),
            ("caching-mode", caching_mode),
            ("eim", eim),
            ("device-iotlb", iotlb),
            ("dma-translation", dma_translation),
        ] {
            if let Some(on) = on {
                device = device.with_on_off(property, on);
            }
        }
        line.push(&Device(device.with_some("aw-bits", aw_bits)));
    }
}
