//! The small devices: memory balloon and random numbers.

use std::ffi::OsString;
use std::path::Path;

use domain::{Domain, MachineFamily, Memballoon, MemballoonModel, PciAddress, Rng, RngBackend};

use super::pci::{explicit, place};
use super::switch::{Device, Properties, Switch};
use super::{CommandLine, CommandLineError};

/// `-device virtio-balloon-pci`.
#[derive(Clone, Copy, Debug)]
pub struct Balloon {
    address: PciAddress,
    family: MachineFamily,
}

impl Switch for Balloon {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let device = Properties::new("virtio-balloon-pci").with("id", "balloon-0");
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
        Some(Memballoon { model: MemballoonModel::None, address: _ }) => {}
        Some(Memballoon { model: MemballoonModel::Virtio, address }) => {
            let address = explicit(*address, || "the memory balloon".to_owned())?;
            line.push(&Balloon { address, family });
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
    Ok(())
}
