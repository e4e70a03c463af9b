//! The definition of a domain that is new, from few words: what its operating system wants of a machine, and what was asked
//! for. It reads nothing and knows no host: what it leaves open is filled in by freezing. Main type: [`NewDomain`].

use std::path::{Path, PathBuf};

use crate::disk::{DiskBus, DiskFormat};
use crate::domain::{Bytes, Kind};
use crate::edit::Element;
use crate::interface::{InterfaceModel, InterfaceSource};
use crate::limits::SPARE_ROOT_PORTS;
use crate::os::MachineFamily;

/// The channel on which a guest's own agent, qemu-ga, listens.
const GUEST_AGENT: &str = "org.qemu.guest_agent.0";

/// What an operating system wants of its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Nothing is known of it: what every system has drivers for.
    Generic,
    /// It has virtio's drivers.
    Linux,
    /// It brings no virtio drivers, keeps local time in its clock, and knows Hyper-V.
    Windows,
    /// The same, and it is installed only with a TPM and secure boot.
    Windows11,
}

/// Every name of a system, as libosinfo has them, and what it is.
const SYSTEMS: [(&str, System); 36] = [
    ("generic", System::Generic),
    ("linux", System::Linux),
    ("almalinux8", System::Linux),
    ("almalinux9", System::Linux),
    ("almalinux10", System::Linux),
    ("alpine", System::Linux),
    ("archlinux", System::Linux),
    ("centos-stream9", System::Linux),
    ("centos-stream10", System::Linux),
    ("debian10", System::Linux),
    ("debian11", System::Linux),
    ("debian12", System::Linux),
    ("debian13", System::Linux),
    ("fedora", System::Linux),
    ("nixos", System::Linux),
    ("opensuse-leap15", System::Linux),
    ("opensuse-tumbleweed", System::Linux),
    ("oraclelinux8", System::Linux),
    ("oraclelinux9", System::Linux),
    ("rhel7", System::Linux),
    ("rhel8", System::Linux),
    ("rhel9", System::Linux),
    ("rhel10", System::Linux),
    ("rocky8", System::Linux),
    ("rocky9", System::Linux),
    ("rocky10", System::Linux),
    ("sles15", System::Linux),
    ("ubuntu20.04", System::Linux),
    ("ubuntu22.04", System::Linux),
    ("ubuntu24.04", System::Linux),
    ("win10", System::Windows),
    ("win2k16", System::Windows),
    ("win2k19", System::Windows),
    ("win2k22", System::Windows),
    ("win2k25", System::Windows),
    ("win11", System::Windows11),
];

impl System {
    /// The system of a name.
    pub fn named(name: &str) -> Option<System> {
        SYSTEMS.iter().find(|(known, _)| *known == name).map(|(_, system)| *system)
    }

    /// Every name that there is.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SYSTEMS.iter().map(|(name, _)| *name)
    }

    fn is_windows(self) -> bool {
        match self {
            System::Windows | System::Windows11 => true,
            System::Generic | System::Linux => false,
        }
    }
}

/// A domain that is to be installed. The first disk is booted first, and where nothing is on it yet, the CD.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDomain {
    /// Its name.
    pub name: String,
    /// KVM or TCG.
    pub kind: Kind,
    /// What is going to run in it.
    pub system: System,
    /// Memory.
    pub memory: Bytes,
    /// vCPUs.
    pub vcpus: u32,
    /// The chipset.
    pub machine: MachineFamily,
    /// UEFI in the place of a BIOS. A system that wants it gets it anyway.
    pub uefi: bool,
    /// Its disks in order.
    pub disks: Vec<NewDisk>,
    /// The installer's image.
    pub cdrom: Option<PathBuf>,
    /// Its network cards in order.
    pub interfaces: Vec<NewInterface>,
    /// Whether it has a screen, seen by VNC from this host; without one it has its serial console.
    pub vnc: bool,
}

/// A disk of a new domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDisk {
    /// Its image.
    pub path: PathBuf,
    /// The image's format.
    pub format: DiskFormat,
    /// How it is attached, in libvirt's word; none is as the system wants it.
    pub bus: Option<String>,
}

/// A network card of a new domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewInterface {
    /// What it is on.
    pub source: InterfaceSource,
    /// What the guest sees, in libvirt's word; none is as the system wants it.
    pub model: Option<String>,
}

impl NewDomain {
    /// The definition, libvirt domain XML.
    pub fn xml(&self) -> String {
        let mut root = Element::new("domain")
            .attribute("type", self.kind.as_str())
            .child(Element::new("name").text(&self.name))
            .child(Element::new("memory").attribute("unit", "KiB").text((self.memory.0 >> 10).to_string()))
            .child(Element::new("vcpu").text(self.vcpus.to_string()))
            .child(self.os())
            .child(self.features())
            .child(Element::new("cpu").attribute("mode", "host-model"))
            .child(self.clock());
        if self.machine == MachineFamily::Q35 {
            let never = |state| Element::new(state).attribute("enabled", "no");
            root =
                root.child(Element::new("pm").child(never("suspend-to-mem")).child(never("suspend-to-disk")));
        }
        root.child(self.devices()).document()
    }

    fn secure(&self) -> bool {
        self.system == System::Windows11
    }

    fn os(&self) -> Element {
        let machine = match self.machine {
            MachineFamily::Q35 => "q35",
            MachineFamily::I440fx => "pc",
        };
        let kind = Element::new("type").attribute("arch", "x86_64").attribute("machine", machine).text("hvm");
        let os = Element::new("os");
        let os = if self.uefi || self.secure() { os.attribute("firmware", "efi") } else { os }.child(kind);
        if !self.secure() {
            return os;
        }
        let must = |name| Element::new("feature").attribute("enabled", "yes").attribute("name", name);
        os.child(Element::new("firmware").child(must("enrolled-keys")).child(must("secure-boot")))
    }

    fn features(&self) -> Element {
        let features = Element::new("features").child(Element::new("acpi")).child(Element::new("apic"));
        if !self.system.is_windows() {
            return features;
        }
        let on = |name| Element::new(name).attribute("state", "on");
        let plain = ["vpindex", "runtime", "synic", "stimer", "frequencies", "tlbflush", "ipi"];
        let hyperv =
            Element::new("hyperv").attribute("mode", "custom").child(on("relaxed")).child(on("vapic"));
        let hyperv = hyperv.child(on("spinlocks").attribute("retries", "8191"));
        features.child(plain.into_iter().fold(hyperv, |hyperv, name| hyperv.child(on(name))))
    }

    /// Timers as virt-install sets them: a guest catches up with interrupts that it missed, and has no HPET.
    fn clock(&self) -> Element {
        let offset = if self.system.is_windows() { "localtime" } else { "utc" };
        let timer = |name| Element::new("timer").attribute("name", name);
        let clock = Element::new("clock")
            .attribute("offset", offset)
            .child(timer("rtc").attribute("tickpolicy", "catchup"))
            .child(timer("pit").attribute("tickpolicy", "delay"))
            .child(timer("hpet").attribute("present", "no"));
        if self.system.is_windows() {
            return clock.child(timer("hypervclock").attribute("present", "yes"));
        }
        clock
    }

    fn devices(&self) -> Element {
        let mut devices = Element::new("devices");
        for disk in self.drives() {
            devices = devices.child(disk);
        }
        devices = devices.child(
            Element::new("controller")
                .attribute("type", "usb")
                .attribute("model", "qemu-xhci")
                .attribute("ports", "15"),
        );
        if self.machine == MachineFamily::Q35 {
            let pci = |model| Element::new("controller").attribute("type", "pci").attribute("model", model);
            devices = devices.child(pci("pcie-root"));
            for _ in 0..SPARE_ROOT_PORTS {
                devices = devices.child(pci("pcie-root-port"));
            }
        }
        for interface in &self.interfaces {
            devices = devices.child(self.interface(interface));
        }
        devices = devices.child(Element::new("console").attribute("type", "pty"));
        if self.system == System::Linux {
            let target = Element::new("target").attribute("type", "virtio").attribute("name", GUEST_AGENT);
            devices = devices.child(Element::new("channel").attribute("type", "unix").child(target));
        }
        if self.vnc {
            devices = devices
                .child(Element::new("input").attribute("type", "tablet").attribute("bus", "usb"))
                .child(Element::new("graphics").attribute("type", "vnc").attribute("autoport", "yes"))
                .child(Element::new("video").child(Element::new("model").attribute("type", self.video())));
        }
        if self.secure() {
            let state = Element::new("backend").attribute("type", "emulator").attribute("version", "2.0");
            devices = devices.child(Element::new("tpm").attribute("model", "tpm-crb").child(state));
        }
        if self.system == System::Linux {
            let random = Element::new("backend").attribute("model", "random").text("/dev/urandom");
            devices = devices.child(Element::new("rng").attribute("model", "virtio").child(random));
        }
        devices
    }

    fn video(&self) -> &'static str {
        match self.system {
            System::Linux => "virtio",
            System::Generic | System::Windows | System::Windows11 => "vga",
        }
    }

    /// The bus that the machine has of itself.
    fn plain_bus(&self) -> DiskBus {
        match self.machine {
            MachineFamily::Q35 => DiskBus::Sata,
            MachineFamily::I440fx => DiskBus::Ide,
        }
    }

    /// The disks, then the CD drive.
    fn drives(&self) -> Vec<Element> {
        let wanted = match self.system {
            System::Linux => DiskBus::Virtio,
            System::Generic | System::Windows | System::Windows11 => self.plain_bus(),
        };
        let mut targets = Targets::default();
        let mut drives = Vec::new();
        for disk in &self.disks {
            let bus = disk.bus.as_deref().unwrap_or(wanted.as_str());
            let driver = driver(disk.format).attribute("discard", "unmap");
            let drive = drive("disk", driver, &disk.path).child(targets.next(bus));
            drives.push(if drives.is_empty() { drive.child(order(1)) } else { drive });
        }
        if let Some(installer) = &self.cdrom {
            let place = if drives.is_empty() { 1 } else { 2 };
            let drive = drive("cdrom", driver(DiskFormat::Raw), installer);
            let drive = drive.child(targets.next(self.plain_bus().as_str()));
            drives.push(drive.child(Element::new("readonly")).child(order(place)));
        }
        drives
    }

    fn interface(&self, interface: &NewInterface) -> Element {
        let wanted = match (self.system, self.machine) {
            (System::Linux, _) => InterfaceModel::Virtio,
            (System::Generic | System::Windows | System::Windows11, MachineFamily::Q35) => {
                InterfaceModel::E1000e
            }
            (System::Generic | System::Windows | System::Windows11, MachineFamily::I440fx) => {
                InterfaceModel::E1000
            }
        };
        let (kind, name) = match &interface.source {
            InterfaceSource::Bridge(bridge) => ("bridge", Some(bridge)),
            InterfaceSource::Network(network) => ("network", Some(network)),
            InterfaceSource::User { .. } => ("user", None),
        };
        let source = name.map(|name| Element::new("source").attribute(kind, name));
        let model = interface.model.as_deref().unwrap_or(wanted.as_str());
        let element = Element::new("interface").attribute("type", kind);
        let element = source.into_iter().fold(element, Element::child);
        element.child(Element::new("model").attribute("type", model))
    }
}

fn drive(device: &str, driver: Element, path: &Path) -> Element {
    let drive = Element::new("disk").attribute("type", "file").attribute("device", device).child(driver);
    drive.child(Element::new("source").attribute("file", path.to_string_lossy()))
}

fn driver(format: DiskFormat) -> Element {
    Element::new("driver").attribute("name", "qemu").attribute("type", format.as_str())
}

fn order(order: u32) -> Element {
    Element::new("boot").attribute("order", order.to_string())
}

/// Names for disks: each gets the first free letter of its bus.
#[derive(Default)]
struct Targets {
    used: Vec<&'static str>,
}

impl Targets {
    fn next(&mut self, bus: &str) -> Element {
        let prefix = match bus {
            "virtio" => "vd",
            "ide" => "hd",
            _ => "sd",
        };
        let used = self.used.iter().filter(|known| **known == prefix).count();
        // A 27th disk is refused when the definition is read: its name is taken.
        let letter = ('a'..='z').nth(used).unwrap_or('z');
        self.used.push(prefix);
        Element::new("target").attribute("dev", format!("{prefix}{letter}")).attribute("bus", bus)
    }
}
