//! [`PciMap`]: which places on the PCI buses are taken, which a device may take, which is the next free one.
//! The rules are QEMU's; the order of free places is libvirt's. It never reads or writes XML.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::PciAddress;
use crate::controller::{ControllerModel, UsbModel};
use crate::domain::Domain;
use crate::os::MachineFamily;

/// What wants a place, as far as that matters for which place it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupant {
    RootPort,
    Bridge,
    Video,
    Sata,
    Ide,
    Piix3Usb,
    Device,
}

impl Occupant {
    /// What a controller is; none where it sits on no PCI bus.
    pub(crate) fn of(model: ControllerModel) -> Option<Occupant> {
        match model {
            ControllerModel::PciRoot | ControllerModel::PcieRoot | ControllerModel::Usb(UsbModel::None) => {
                None
            }
            ControllerModel::PcieRootPort { .. } => Some(Occupant::RootPort),
            ControllerModel::PcieToPciBridge => Some(Occupant::Bridge),
            ControllerModel::Usb(UsbModel::Piix3Uhci) => Some(Occupant::Piix3Usb),
            ControllerModel::Usb(UsbModel::QemuXhci { .. }) | ControllerModel::VirtioSerial { .. } => {
                Some(Occupant::Device)
            }
            ControllerModel::Ahci | ControllerModel::Scsi { .. } => Some(Occupant::Device),
            ControllerModel::Sata => Some(Occupant::Sata),
            ControllerModel::Ide => Some(Occupant::Ide),
        }
    }
}

/// Why a device cannot have a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlaceError {
    #[error("PCI address {0} is taken by another device")]
    Taken(PciAddress),
    #[error("there is no PCI controller with index {0}, whose bus the address names")]
    NoBus(u8),
    #[error("slot 0 of bus {0} is not for devices")]
    SlotZero(u8),
    #[error("a pcie-root-port has slot 0 only, not slot {0}")]
    OneSlot(u8),
    #[error("PCI address {0} belongs to the machine's own chipset")]
    Chipset(PciAddress),
    #[error("this controller is part of the chipset and always at {0}")]
    Fixed(PciAddress),
    #[error("this controller can only be on bus 0")]
    OnlyRoot,
    #[error("this controller cannot be behind a bridge")]
    OnlyExpress,
    #[error("function 0 of the slot is missing")]
    NoFunctionZero,
    #[error("function 0 of the slot does not say that there are more")]
    SingleFunction,
}

impl PlaceError {
    /// What to do about it.
    pub(crate) fn mend(&self) -> &'static str {
        match self {
            PlaceError::Taken(_) | PlaceError::SlotZero(_) | PlaceError::Chipset(_) => {
                "remove this <address>: a free one is assigned"
            }
            PlaceError::NoBus(_) => "add the controller, or remove this <address>: a free one is assigned",
            PlaceError::OneSlot(_) => "write slot='0x00', or remove this <address>",
            PlaceError::Fixed(_) | PlaceError::OnlyRoot | PlaceError::OnlyExpress => "remove this <address>",
            PlaceError::NoFunctionZero => "put a device at function 0 of the slot, or remove this <address>",
            PlaceError::SingleFunction => "write multifunction='on' into the address of function 0",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bus {
    Root,
    RootPort,
    Bridge,
}

#[derive(Clone, Copy)]
struct Taken {
    occupant: Occupant,
    multifunction: bool,
}

/// The PCI buses of a domain.
pub(crate) struct PciMap {
    family: MachineFamily,
    /// Whether a slot is kept for the primary graphics adapter.
    video: bool,
    buses: BTreeMap<u8, Bus>,
    taken: BTreeMap<(u8, u8, u8), Taken>,
}

/// The last slot of a conventional bus.
const SLOT_MAX: u8 = 31;

impl PciMap {
    /// Empty buses, as the controllers make them.
    pub(crate) fn new(domain: &Domain) -> PciMap {
        let mut buses = BTreeMap::from([(0, Bus::Root)]);
        for controller in &domain.controllers {
            let bus = match controller.model {
                ControllerModel::PcieRootPort { .. } => Bus::RootPort,
                ControllerModel::PcieToPciBridge => Bus::Bridge,
                ControllerModel::PciRoot
                | ControllerModel::PcieRoot
                | ControllerModel::VirtioSerial { .. }
                | ControllerModel::Usb(_)
                | ControllerModel::Sata
                | ControllerModel::Ahci
                | ControllerModel::Scsi { .. }
                | ControllerModel::Ide => continue,
            };
            if let Ok(index) = u8::try_from(controller.index)
                && index != 0
            {
                buses.insert(index, bus);
            }
        }
        let video = !domain.videos.is_empty();
        PciMap { family: domain.os.family, video, buses, taken: BTreeMap::new() }
    }

    /// Gives a place to a device.
    pub(crate) fn take(&mut self, address: PciAddress, occupant: Occupant) -> Result<(), PlaceError> {
        self.allow(address, occupant)?;
        if self.taken.contains_key(&address.place()) {
            return Err(PlaceError::Taken(address));
        }
        self.taken.insert(address.place(), Taken { occupant, multifunction: address.multifunction });
        Ok(())
    }

    fn allow(&self, address: PciAddress, occupant: Occupant) -> Result<(), PlaceError> {
        if let Some(fixed) = self.fixed(occupant) {
            return if fixed.place() == address.place() { Ok(()) } else { Err(PlaceError::Fixed(fixed)) };
        }
        let bus = *self.buses.get(&address.bus).ok_or(PlaceError::NoBus(address.bus))?;
        match (bus, occupant) {
            (Bus::Root, _) => {}
            (Bus::RootPort | Bus::Bridge, Occupant::RootPort) => return Err(PlaceError::OnlyRoot),
            (Bus::Bridge, Occupant::Bridge) => return Err(PlaceError::OnlyExpress),
            (Bus::RootPort | Bus::Bridge, _) => {}
        }
        match bus {
            Bus::RootPort if address.slot != 0 => Err(PlaceError::OneSlot(address.slot)),
            Bus::Root | Bus::Bridge if address.slot == 0 => Err(PlaceError::SlotZero(address.bus)),
            Bus::Root if self.chipset_slot() == address.slot => Err(PlaceError::Chipset(address)),
            Bus::Root | Bus::RootPort | Bus::Bridge => Ok(()),
        }
    }

    /// Where a part of the chipset always is.
    pub(crate) fn fixed(&self, occupant: Occupant) -> Option<PciAddress> {
        let (slot, function) = match occupant {
            Occupant::Sata => (0x1f, 2),
            Occupant::Ide => (0x01, 1),
            Occupant::Piix3Usb => (0x01, 2),
            Occupant::RootPort | Occupant::Bridge | Occupant::Video | Occupant::Device => return None,
        };
        Some(PciAddress { bus: 0, slot, function, multifunction: false })
    }

    /// The slot of bus 0 with the chipset's ISA bridge and its companions.
    fn chipset_slot(&self) -> u8 {
        match self.family {
            MachineFamily::Q35 => 0x1f,
            MachineFamily::I440fx => 0x01,
        }
    }

    /// The slot of bus 0 that is kept for the primary graphics adapter.
    fn video_slot(&self) -> u8 {
        match self.family {
            MachineFamily::Q35 => 0x01,
            MachineFamily::I440fx => 0x02,
        }
    }

    /// The slots of bus 0 that any device may have, in libvirt's order.
    fn root_slots(&self) -> impl Iterator<Item = u8> {
        let chipset = self.chipset_slot();
        (self.video_slot() + u8::from(self.video)..=SLOT_MAX).filter(move |slot| *slot != chipset)
    }

    /// Whether the functions of a device's slot fit together, once every device has its place.
    pub(crate) fn functions_fit(&self, address: PciAddress, occupant: Occupant) -> Result<(), PlaceError> {
        if address.function == 0 || self.fixed(occupant).is_some() {
            return Ok(());
        }
        match self.taken.get(&(address.bus, address.slot, 0)) {
            None => Err(PlaceError::NoFunctionZero),
            Some(first) if !first.multifunction => Err(PlaceError::SingleFunction),
            Some(_) => Ok(()),
        }
    }

    fn is_free(&self, bus: u8, slot: u8) -> bool {
        self.taken.range((bus, slot, 0)..=(bus, slot, u8::MAX)).next().is_none()
    }

    /// Adds the bus of a new root port.
    pub(crate) fn add_root_port(&mut self, index: u8) {
        self.buses.insert(index, Bus::RootPort);
    }

    /// The first bus number that no controller has, above all that are there.
    pub(crate) fn next_bus(&self) -> Option<u8> {
        self.buses.keys().next_back().and_then(|last| last.checked_add(1))
    }

    /// The next free place for a device. On q35 it is behind a root port, and none means that one more port is
    /// needed; on i440fx it is a slot of the root bus.
    pub(crate) fn free(&self, occupant: Occupant) -> Option<PciAddress> {
        match (occupant, self.family) {
            (Occupant::Sata | Occupant::Ide | Occupant::Piix3Usb, _) => self.fixed(occupant),
            (Occupant::RootPort, _) => self.free_for_root_port(),
            (Occupant::Video, _) => {
                let slot = self.video_slot();
                if self.is_free(0, slot) { Some(PciAddress::new(0, slot)) } else { self.free_root_slot() }
            }
            (Occupant::Bridge | Occupant::Device, MachineFamily::I440fx) => self.free_root_slot(),
            (Occupant::Bridge | Occupant::Device, MachineFamily::Q35) => {
                let mut ports = self.buses.iter().filter(|(_, bus)| **bus == Bus::RootPort);
                ports.find(|(bus, _)| self.is_free(**bus, 0)).map(|(bus, _)| PciAddress::new(*bus, 0))
            }
        }
    }

    fn free_root_slot(&self) -> Option<PciAddress> {
        self.root_slots().find(|slot| self.is_free(0, *slot)).map(|slot| PciAddress::new(0, slot))
    }

    /// Eight root ports share a slot.
    fn free_for_root_port(&self) -> Option<PciAddress> {
        for slot in self.root_slots() {
            if self.is_free(0, slot) {
                return Some(PciAddress { bus: 0, slot, function: 0, multifunction: true });
            }
            let first = self.taken.get(&(0, slot, 0));
            if first.is_none_or(|first| first.occupant != Occupant::RootPort || !first.multifunction) {
                continue;
            }
            let functions: BTreeSet<u8> =
                self.taken.range((0, slot, 0)..=(0, slot, 7)).map(|(at, _)| at.2).collect();
            if let Some(function) = (1..=7).find(|function| !functions.contains(function)) {
                return Some(PciAddress { bus: 0, slot, function, multifunction: false });
            }
        }
        None
    }
}
