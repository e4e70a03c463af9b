//! [`PciMap`]: which places on the PCI buses are taken, which a device may take, which is the next free one.
//! The rules are QEMU's; the order of free places is libvirt's. It never reads or writes XML.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::PciAddress;
use crate::controller::{Controller, ControllerModel, ScsiModel, UsbModel};
use crate::os::MachineFamily;

/// What wants a place, as far as that matters for which place it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occupant {
    RootPort,
    /// `pcie-to-pci-bridge`.
    Bridge,
    /// `dmi-to-pci-bridge`.
    DmiBridge,
    /// `pci-bridge`.
    PciBridge,
    SwitchUpstream,
    SwitchDownstream,
    Expander,
    /// The primary graphics adapter.
    Video,
    Sata,
    Ide,
    Piix3Usb,
    /// One function of ICH9's USB controllers, which share a slot.
    Ich9Usb {
        function: u8,
    },
    /// ICH9's sound.
    Ich9Sound,
    /// A PCI Express device, where the machine has PCI Express.
    Device,
    /// A device of conventional PCI.
    Conventional,
}

impl Occupant {
    /// What a controller is; none where it sits on no PCI bus.
    pub(crate) fn of(controller: &Controller) -> Option<Occupant> {
        match controller.model {
            ControllerModel::PciRoot | ControllerModel::PcieRoot | ControllerModel::Usb(UsbModel::None) => {
                None
            }
            ControllerModel::PcieRootPort { .. } => Some(Occupant::RootPort),
            ControllerModel::PcieToPciBridge => Some(Occupant::Bridge),
            ControllerModel::DmiToPciBridge => Some(Occupant::DmiBridge),
            ControllerModel::PciBridge { .. } => Some(Occupant::PciBridge),
            ControllerModel::PcieSwitchUpstreamPort => Some(Occupant::SwitchUpstream),
            ControllerModel::PcieSwitchDownstreamPort { .. } => Some(Occupant::SwitchDownstream),
            ControllerModel::PcieExpanderBus { .. } => Some(Occupant::Expander),
            ControllerModel::Usb(model) => Some(match model {
                UsbModel::Piix3Uhci if controller.index == 0 => Occupant::Piix3Usb,
                UsbModel::Ich9 { part, .. } => Occupant::Ich9Usb { function: part.function() },
                UsbModel::QemuXhci { .. } | UsbModel::NecXhci { .. } => Occupant::Device,
                UsbModel::Piix3Uhci
                | UsbModel::Piix4Uhci
                | UsbModel::Ehci
                | UsbModel::PciOhci
                | UsbModel::None => Occupant::Conventional,
            }),
            ControllerModel::VirtioSerial { .. } => Some(Occupant::Device),
            ControllerModel::Ahci => Some(Occupant::Device),
            ControllerModel::Scsi { model, driver: _ } => {
                let conventional = matches!(model, ScsiModel::Lsilogic | ScsiModel::VirtioTransitional);
                Some(Occupant::device(conventional))
            }
            ControllerModel::Sata => Some(Occupant::Sata),
            ControllerModel::Ide => Some(Occupant::Ide),
        }
    }

    /// A device on PCI Express, or on conventional PCI only.
    pub(crate) fn device(conventional: bool) -> Occupant {
        if conventional { Occupant::Conventional } else { Occupant::Device }
    }

    /// Slots of the root bus that it takes where they are free, as on real hardware.
    fn preferred(self, family: MachineFamily) -> &'static [u8] {
        match (self, family) {
            (Occupant::Video, MachineFamily::Q35) => &[0x01],
            (Occupant::Video, MachineFamily::I440fx) => &[0x02],
            (Occupant::Ich9Usb { function: 0 }, MachineFamily::Q35) => &[0x1d, 0x1a],
            (Occupant::Ich9Sound, MachineFamily::Q35) => &[0x1b],
            (Occupant::DmiBridge, _) => &[0x1e],
            (
                Occupant::RootPort
                | Occupant::Bridge
                | Occupant::PciBridge
                | Occupant::SwitchUpstream
                | Occupant::SwitchDownstream
                | Occupant::Expander
                | Occupant::Sata
                | Occupant::Ide
                | Occupant::Piix3Usb
                | Occupant::Ich9Usb { .. }
                | Occupant::Ich9Sound
                | Occupant::Device
                | Occupant::Conventional,
                _,
            ) => &[],
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
    #[error("the bus has slot 0 only, not slot {0}")]
    OneSlot(u8),
    #[error("PCI address {0} belongs to the machine's own chipset")]
    Chipset(PciAddress),
    #[error("this controller is part of the chipset and always at {0}")]
    Fixed(PciAddress),
    #[error("this controller can only be on bus 0")]
    OnlyRoot,
    #[error("this controller cannot be behind a bridge")]
    OnlyExpress,
    #[error("bus {0} is inside a switch and takes its downstream ports only")]
    OnlyDownstream(u8),
    #[error("this port can only be inside a switch")]
    OnlyInSwitch,
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
            PlaceError::Fixed(_)
            | PlaceError::OnlyRoot
            | PlaceError::OnlyExpress
            | PlaceError::OnlyDownstream(_)
            | PlaceError::OnlyInSwitch => "remove this <address>",
            PlaceError::NoFunctionZero => "put a device at function 0 of the slot, or remove this <address>",
            PlaceError::SingleFunction => "write multifunction='on' into the address of function 0",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bus {
    Root,
    /// Behind a root port or a switch's downstream port: one slot.
    Port,
    /// Conventional slots from `first`.
    Bridge {
        first: u8,
    },
    /// Inside a switch.
    Switch,
}

impl Bus {
    /// The bus that a controller makes.
    fn of(model: ControllerModel) -> Option<Bus> {
        match model {
            ControllerModel::PcieRootPort { .. } | ControllerModel::PcieSwitchDownstreamPort { .. } => {
                Some(Bus::Port)
            }
            ControllerModel::PcieToPciBridge | ControllerModel::PciBridge { .. } => {
                Some(Bus::Bridge { first: 1 })
            }
            ControllerModel::DmiToPciBridge => Some(Bus::Bridge { first: 0 }),
            ControllerModel::PcieSwitchUpstreamPort => Some(Bus::Switch),
            // Only root ports go there, and only where the definition says so.
            ControllerModel::PcieExpanderBus { .. } => Some(Bus::Root),
            ControllerModel::PciRoot
            | ControllerModel::PcieRoot
            | ControllerModel::VirtioSerial { .. }
            | ControllerModel::Usb(_)
            | ControllerModel::Sata
            | ControllerModel::Ahci
            | ControllerModel::Scsi { .. }
            | ControllerModel::Ide => None,
        }
    }
}

#[derive(Clone, Copy)]
struct Taken {
    occupant: Occupant,
    multifunction: bool,
}

/// The PCI buses of a domain.
#[derive(Clone)]
pub(crate) struct PciMap {
    family: MachineFamily,
    buses: BTreeMap<u8, Bus>,
    taken: BTreeMap<(u8, u8, u8), Taken>,
}

/// The last slot of a conventional bus.
const SLOT_MAX: u8 = 31;

impl PciMap {
    /// Empty buses, as the controllers make them.
    pub(crate) fn new(family: MachineFamily, controllers: &[Controller]) -> PciMap {
        let mut buses = BTreeMap::from([(0, Bus::Root)]);
        for controller in controllers {
            if let Some(bus) = Bus::of(controller.model)
                && let Ok(index) = u8::try_from(controller.index)
                && index != 0
            {
                buses.insert(index, bus);
            }
        }
        PciMap { family, buses, taken: BTreeMap::new() }
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
            (Bus::Switch, Occupant::SwitchDownstream) | (Bus::Root, _) => {}
            (Bus::Switch, _) => return Err(PlaceError::OnlyDownstream(address.bus)),
            (_, Occupant::SwitchDownstream) => return Err(PlaceError::OnlyInSwitch),
            (_, Occupant::RootPort | Occupant::DmiBridge | Occupant::Expander) => {
                return Err(PlaceError::OnlyRoot);
            }
            (Bus::Bridge { .. }, Occupant::Bridge | Occupant::SwitchUpstream) => {
                return Err(PlaceError::OnlyExpress);
            }
            (Bus::Port | Bus::Bridge { .. }, _) => {}
        }
        match bus {
            Bus::Port if address.slot != 0 => Err(PlaceError::OneSlot(address.slot)),
            Bus::Root if address.slot == 0 && address.bus == 0 => Err(PlaceError::SlotZero(0)),
            Bus::Bridge { first } if address.slot < first => Err(PlaceError::SlotZero(address.bus)),
            Bus::Root if address.bus == 0 && self.chipset_slot() == address.slot => {
                Err(PlaceError::Chipset(address))
            }
            Bus::Root | Bus::Port | Bus::Bridge { .. } | Bus::Switch => Ok(()),
        }
    }

    /// Where a part of the chipset always is. On q35 PIIX3's USB controller is a device like others.
    pub(crate) fn fixed(&self, occupant: Occupant) -> Option<PciAddress> {
        let (slot, function) = match occupant {
            Occupant::Sata => (0x1f, 2),
            Occupant::Ide => (0x01, 1),
            Occupant::Piix3Usb if self.family == MachineFamily::I440fx => (0x01, 2),
            Occupant::Piix3Usb
            | Occupant::RootPort
            | Occupant::Bridge
            | Occupant::DmiBridge
            | Occupant::PciBridge
            | Occupant::SwitchUpstream
            | Occupant::SwitchDownstream
            | Occupant::Expander
            | Occupant::Video
            | Occupant::Ich9Usb { .. }
            | Occupant::Ich9Sound
            | Occupant::Device
            | Occupant::Conventional => return None,
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

    /// Whether nothing sits at an address.
    pub(crate) fn is_free_function(&self, address: PciAddress) -> bool {
        !self.taken.contains_key(&address.place())
    }

    fn is_free(&self, bus: u8, slot: u8) -> bool {
        self.taken.range((bus, slot, 0)..=(bus, slot, u8::MAX)).next().is_none()
    }

    /// Adds the bus of a new controller.
    pub(crate) fn add_bus(&mut self, index: u8, model: ControllerModel) {
        if let Some(bus) = Bus::of(model) {
            self.buses.insert(index, bus);
        }
    }

    /// The first bus number that no controller has, above all that are there.
    pub(crate) fn next_bus(&self) -> Option<u8> {
        self.buses.keys().next_back().and_then(|last| last.checked_add(1))
    }

    /// The place that a device has on real hardware, where it is free.
    pub(crate) fn preferred(&self, occupant: Occupant) -> Option<PciAddress> {
        let slots = occupant.preferred(self.family).iter();
        let slot = *slots.into_iter().find(|slot| self.is_free(0, **slot))?;
        let multifunction = matches!(occupant, Occupant::Ich9Usb { .. });
        Some(PciAddress { bus: 0, slot, function: 0, multifunction })
    }

    /// The next free place for a device. None means that one more controller is needed: on q35 a root port, or a
    /// bridge behind one for a device of conventional PCI; on i440fx a bridge.
    pub(crate) fn free(&self, occupant: Occupant) -> Option<PciAddress> {
        if let Some(fixed) = self.fixed(occupant) {
            return Some(fixed);
        }
        match (occupant, self.family) {
            (Occupant::RootPort, _) => self.free_for_root_port(),
            (Occupant::DmiBridge | Occupant::Expander, _) => self.free_slot(0, 1),
            (Occupant::SwitchDownstream, _) => self.free_behind(|bus| (bus == Bus::Switch).then_some(0)),
            (Occupant::Device | Occupant::Bridge | Occupant::SwitchUpstream, MachineFamily::Q35) => {
                let mut ports = self.buses.iter().filter(|(_, bus)| **bus == Bus::Port);
                ports.find(|(bus, _)| self.is_free(**bus, 0)).map(|(bus, _)| PciAddress::new(*bus, 0))
            }
            (
                Occupant::Conventional
                | Occupant::Video
                | Occupant::PciBridge
                | Occupant::Piix3Usb
                | Occupant::Ich9Usb { .. }
                | Occupant::Ich9Sound,
                MachineFamily::Q35,
            ) => self.free_behind(conventional),
            (_, MachineFamily::I440fx) => self.free_slot(0, 1).or_else(|| self.free_behind(conventional)),
            (Occupant::Sata | Occupant::Ide, MachineFamily::Q35) => None,
        }
    }

    fn free_slot(&self, bus: u8, first: u8) -> Option<PciAddress> {
        let chipset = |slot: u8| bus == 0 && slot == self.chipset_slot();
        let mut slots = (first..=SLOT_MAX).filter(|slot| !chipset(*slot));
        slots.find(|slot| self.is_free(bus, *slot)).map(|slot| PciAddress::new(bus, slot))
    }

    /// The first free slot of the buses for which `first` gives the number of their first slot.
    fn free_behind(&self, first: impl Fn(Bus) -> Option<u8>) -> Option<PciAddress> {
        self.buses.iter().find_map(|(index, bus)| self.free_slot(*index, first(*bus)?))
    }

    /// Eight root ports share a slot.
    fn free_for_root_port(&self) -> Option<PciAddress> {
        for slot in 1..=SLOT_MAX {
            if slot == self.chipset_slot() {
                continue;
            }
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

/// The first slot of a bus of conventional PCI that is not the root.
fn conventional(bus: Bus) -> Option<u8> {
    match bus {
        Bus::Bridge { first } => Some(first),
        Bus::Root | Bus::Port | Bus::Switch => None,
    }
}
