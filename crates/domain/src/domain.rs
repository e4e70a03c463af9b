//! [`Domain`]: what a definition says, typed. It never keeps what it does not understand; the text in
//! [`Definition`](crate::Definition) does.

use std::fmt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::character::{Channel, Console, ConsoleTarget, Parallel, Serial, SerialTarget};
use crate::clock::Clock;
use crate::controller::Controller;
use crate::cpu::{Cpu, Topology};
use crate::device::{Iommu, Memballoon, Panic, Rng, Vsock, Watchdog};
use crate::disk::{Disk, DiskBus, DiskDevice, DiskSource};
use crate::display::{Graphics, Listen, Video};
use crate::features::Features;
use crate::hostdev::{Hostdev, HostdevSource};
use crate::input::{Input, InputBus};
use crate::interface::Interface;
use crate::iothread::IoThread;
use crate::limits::VSOCK_CID;
use crate::memory::{MemoryBacking, NumaCell};
use crate::os::{BootDevice, Os};
use crate::sound::{Audio, Sound, SoundModel};
use crate::stream::{CharacterBackend, CharacterOptions};
use crate::sysinfo::{FwCfgValue, SystemInformation};
use crate::tpm::Tpm;
use crate::usb::{Hub, Redirdev};
use crate::word::words;

/// A virtual machine as its definition describes it.
///
/// After [`freeze`](crate::Definition::freeze) `uuid`, every MAC address, `memballoon` and every address are
/// `Some`, and `os.machine` is a versioned name.
#[derive(Clone, Debug, PartialEq)]
pub struct Domain {
    /// `<domain type=…>`: which accelerator.
    pub kind: Kind,
    /// `<name>`: unique on a host. No `/`, no control characters, not `.` or `..`.
    pub name: String,
    /// `<uuid>`: the same on every host the domain runs on.
    pub uuid: Option<Uuid>,
    /// `<title>`: a short text for people, one line.
    pub title: Option<String>,
    /// `<description>`: a long text for people.
    pub description: Option<String>,
    /// `<memory>`: what the guest has at most, rounded up to whole MiB as libvirt does for x86.
    pub memory: Bytes,
    /// `<currentMemory>`: what the balloon leaves the guest at start, rounded up to whole KiB; `memory` where the
    /// definition says nothing.
    pub current_memory: Bytes,
    /// `<memoryBacking>` and `<numatune>`: where the host takes it from.
    pub memory_backing: MemoryBacking,
    /// `<cpu><numa>`: the guest's NUMA nodes; none is one for all. Together they are `memory` and `vcpus`.
    pub numa_cells: Vec<NumaCell>,
    /// `<vcpu>`: the most virtual CPUs the guest can have (QEMU's `maxcpus`).
    pub vcpus: u32,
    /// `<vcpu current=…>`: virtual CPUs at start; `vcpus` where the definition says nothing.
    pub vcpus_current: u32,
    /// `<cpu>`; without it the guest sees QEMU's `qemu64`.
    pub cpu: Option<Cpu>,
    /// `<os>`: machine type and what it boots.
    pub os: Os,
    /// `<sysinfo>`.
    pub system_information: SystemInformation,
    /// `<features>`.
    pub features: Features,
    /// `<clock>`.
    pub clock: Clock,
    /// `<on_poweroff>`: always [`Action::Destroy`] today, the default.
    pub on_poweroff: Action,
    /// `<on_reboot>`: [`Action::Restart`], the default, or [`Action::Destroy`].
    pub on_reboot: Action,
    /// `<on_crash>`: any [`Action`]; the default is [`Action::Destroy`].
    pub on_crash: Action,
    /// `<pm>`: whether ACPI sleep states are offered.
    pub pm: PowerManagement,
    /// `<devices><emulator>`: the QEMU binary, an absolute path. Data: whether it may be run is the host's rule.
    pub emulator: Option<PathBuf>,
    /// `<iothreads>` and `<iothreadids>`: the threads that serve disks.
    pub iothreads: Vec<IoThread>,
    /// `<disk>` elements in order.
    pub disks: Vec<Disk>,
    /// `<interface>` elements in order.
    pub interfaces: Vec<Interface>,
    /// Serial ports in order of `port`, which counts from 0 without gaps. Holds also the one that a `<console>`
    /// without any `<serial>` stands for.
    pub serials: Vec<Serial>,
    /// `<parallel>` elements in order.
    pub parallels: Vec<Parallel>,
    /// `<console>` elements in order. One that is the first serial port by another name makes no device of its own.
    pub consoles: Vec<Console>,
    /// `<channel>` elements in order: the guest agent's, for one.
    pub channels: Vec<Channel>,
    /// `<graphics>`: at most one of a protocol.
    pub graphics: Vec<Graphics>,
    /// `<video>` elements in order; the first is the primary adapter.
    pub videos: Vec<Video>,
    /// `<sound>` elements in order.
    pub sounds: Vec<Sound>,
    /// `<audio>`: at most one. Without it sound goes to SPICE where there is SPICE, else nowhere.
    pub audio: Option<Audio>,
    /// `<input>` elements in order. Those on `ps2` are part of the machine and need no device.
    pub inputs: Vec<Input>,
    /// `<hub>` elements in order.
    pub hubs: Vec<Hub>,
    /// `<redirdev>` elements in order.
    pub redirdevs: Vec<Redirdev>,
    /// `<hostdev>` elements in order.
    pub hostdevs: Vec<Hostdev>,
    /// `<memballoon>`; absent means virtio, and freezing writes it.
    pub memballoon: Option<Memballoon>,
    /// `<rng>` elements in order.
    pub rngs: Vec<Rng>,
    /// `<panic>` elements in order, at most one of a model.
    pub panics: Vec<Panic>,
    /// `<vsock>`: at most one.
    pub vsocks: Vec<Vsock>,
    /// `<iommu>`: at most one.
    pub iommus: Vec<Iommu>,
    /// `<watchdog>` elements in order, at most one of a model.
    pub watchdogs: Vec<Watchdog>,
    /// `<tpm>`: at most one.
    pub tpms: Vec<Tpm>,
    /// `<controller>` elements in order. After freezing every bus that an address names has its controller here.
    pub controllers: Vec<Controller>,
}

impl Domain {
    /// The topology to give to QEMU's `-smp`: what the definition says, else one core per socket, as libvirt does.
    pub fn topology(&self) -> Topology {
        match self.cpu.as_ref().and_then(|cpu| cpu.topology) {
            Some(topology) => topology,
            None => Topology { sockets: self.vcpus, dies: 1, clusters: 1, cores: 1, threads: 1 },
        }
    }

    /// Whether a device has a `<boot order=…>` of its own; `os.boot` is empty then.
    pub fn has_device_boot_order(&self) -> bool {
        self.disks.iter().any(|disk| disk.boot_order.is_some())
            || self.interfaces.iter().any(|interface| interface.boot_order.is_some())
            || self.hostdevs.iter().any(|hostdev| hostdev.boot_order.is_some())
            || self.redirdevs.iter().any(|redirdev| redirdev.boot_order.is_some())
    }

    /// Whether anything sits on a USB port.
    pub fn has_usb_devices(&self) -> bool {
        !self.hubs.is_empty()
            || !self.redirdevs.is_empty()
            || self.inputs.iter().any(|input| input.bus == InputBus::Usb)
            || self.disks.iter().any(|disk| disk.bus == DiskBus::Usb)
            || self.sounds.iter().any(|sound| sound.model == SoundModel::Usb)
            || self.serials.iter().any(|serial| matches!(serial.target, SerialTarget::Usb { .. }))
            || self.hostdevs.iter().any(|hostdev| matches!(hostdev.source, HostdevSource::Usb { .. }))
    }

    /// The host's end of every byte stream, with what else is said of it. A console that is the first serial port by
    /// another name has none of its own.
    pub fn streams(&self) -> impl Iterator<Item = (&CharacterBackend, &CharacterOptions)> {
        let serials = self.serials.iter().map(|it| (&it.backend, &it.options));
        let consoles = self.consoles.iter().filter(|it| it.target == ConsoleTarget::Virtio);
        serials
            .chain(self.parallels.iter().map(|it| (&it.backend, &it.options)))
            .chain(consoles.map(|it| (&it.backend, &it.options)))
            .chain(self.channels.iter().map(|it| (&it.backend, &it.options)))
            .chain(self.redirdevs.iter().map(|it| (&it.backend, &it.options)))
    }

    /// QEMU's `bootindex` of a disk, by its place in `disks`; none where it is not booted from.
    ///
    /// With `<os><boot dev='hd'/>`, or nothing said at all, it is the first disk, with `cdrom` the first CD drive, as
    /// in libvirt.
    pub fn disk_boot_index(&self, disk: usize) -> Option<u32> {
        if self.has_device_boot_order() {
            return self.disks.get(disk)?.boot_order;
        }
        let device = self.disks.get(disk)?.device;
        if self.disks.iter().position(|it| it.device == device) != Some(disk) {
            return None;
        }
        self.os_boot_index(match device {
            DiskDevice::Disk => BootDevice::HardDisk,
            DiskDevice::Cdrom => BootDevice::Cdrom,
        })
    }

    /// QEMU's `bootindex` of an interface, by its place in `interfaces`; none where it is not booted from.
    pub fn interface_boot_index(&self, interface: usize) -> Option<u32> {
        if self.has_device_boot_order() {
            return self.interfaces.get(interface)?.boot_order;
        }
        if interface != 0 || self.interfaces.is_empty() {
            return None;
        }
        self.os_boot_index(BootDevice::Network)
    }

    /// How QEMU knows an interface, by its place in `interfaces`: what its `<alias>` says, else its place, or its MAC
    /// address where another's alias says that.
    pub fn interface_id(&self, interface: usize) -> String {
        let place = interface.to_string();
        let Some(Interface { id, mac, .. }) = self.interfaces.get(interface) else { return place };
        let taken = || self.interfaces.iter().any(|it| it.id.as_ref() == Some(&place));
        match (id, mac) {
            (Some(id), _) => id.clone(),
            (None, Some(mac)) if taken() => mac.to_string().replace(':', ""),
            (None, _) => place,
        }
    }

    fn os_boot_index(&self, device: BootDevice) -> Option<u32> {
        let order: &[BootDevice] =
            if self.os.boot.is_empty() { &[BootDevice::HardDisk] } else { &self.os.boot };
        let place = order.iter().position(|entry| *entry == device)?;
        u32::try_from(place + 1).ok()
    }

    /// The guest's address on a vsock: what the definition says, else one made from the UUID, so that it is the same on
    /// every host.
    pub fn vsock_cid(&self, vsock: &Vsock) -> Option<u32> {
        vsock.cid.or_else(|| {
            let bytes = self.uuid?.into_bytes();
            let folded = bytes
                .chunks_exact(4)
                .fold(0, |folded, four| folded ^ u32::from_be_bytes([four[0], four[1], four[2], four[3]]));
            Some(folded.clamp(*VSOCK_CID.start(), *VSOCK_CID.end()))
        })
    }

    /// Every file on the host that the definition makes QEMU open, run or create, so that a caller can hold it
    /// against its allow-list.
    pub fn files(&self) -> Vec<FileUse<'_>> {
        let mut files = Vec::new();
        let mut add = |role, path| files.push(FileUse { role, path });
        if let Some(path) = &self.emulator {
            add(FileRole::Emulator, path.as_path());
        }
        for path in self.os.kernel.iter().chain(&self.os.initrd) {
            add(FileRole::Boot, path);
        }
        for entry in &self.system_information.fw_cfg {
            if let FwCfgValue::File(path) = &entry.value {
                add(FileRole::Boot, path);
            }
        }
        let firmware = &self.os.firmware;
        if let Some(loader) = &firmware.loader {
            add(FileRole::Firmware, &loader.path);
        }
        if let Some(nvram) = &firmware.nvram {
            if let Some(template) = &nvram.template {
                add(FileRole::Firmware, template);
            }
            if let Some(path) = &nvram.path {
                add(FileRole::Nvram, path);
            }
        }
        for disk in &self.disks {
            let own = disk.source.as_ref().and_then(DiskSource::path);
            own.into_iter()
                .chain(disk.backing.iter().map(PathBuf::as_path))
                .for_each(|path| add(FileRole::Disk, path));
        }
        for (backend, options) in self.streams() {
            for path in backend.path().into_iter().chain(options.log.as_ref().map(|log| log.path.as_path())) {
                add(FileRole::Character, path);
            }
        }
        for graphics in &self.graphics {
            if let Listen::Socket(Some(path)) = &graphics.listen {
                add(FileRole::Character, path);
            }
        }
        let roms = self.interfaces.iter().map(|it| &it.rom).chain(self.hostdevs.iter().map(|it| &it.rom));
        for path in roms.filter_map(|rom| rom.file.as_deref()) {
            add(FileRole::Boot, path);
        }
        for rng in &self.rngs {
            if let Some(path) = rng.backend.path() {
                add(FileRole::Entropy, path);
            }
        }
        files
    }
}

/// A file on the host that a definition names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileUse<'a> {
    /// What QEMU does with it.
    pub role: FileRole,
    /// The absolute path.
    pub path: &'a Path,
}

/// What QEMU does with a file that a definition names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// It is run.
    Emulator,
    /// Kernel, initrd, an entry of `fw_cfg` or the boot ROM of a card, read at start.
    Boot,
    /// Firmware: code, or the variables that a new guest begins with. It is read.
    Firmware,
    /// The variables of the guest's firmware. The file is made where it is missing, and written.
    Nvram,
    /// A disk image, read and mostly written.
    Disk,
    /// A file that a character device writes, or its socket.
    Character,
    /// A source of random bytes.
    Entropy,
}

/// An amount of memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// In KiB, rounded up.
    pub const fn kib(self) -> u64 {
        self.0.div_ceil(1 << 10)
    }

    /// In MiB, rounded up.
    pub const fn mib(self) -> u64 {
        self.0.div_ceil(1 << 20)
    }
}

impl fmt::Display for Bytes {
    /// In the largest unit that leaves no rest: `2 GiB`, `1536 MiB`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(formatter, "{} {unit}", self.0 >> shift);
            }
        }
        write!(formatter, "{} bytes", self.0)
    }
}

words! {
    /// Which accelerator runs the domain.
    pub enum Kind {
        /// The kernel's KVM.
        Kvm = "kvm",
        /// QEMU's own translation (TCG).
        Qemu = "qemu",
    }
}

words! {
    /// What happens when the guest powers off, reboots or crashes.
    pub enum Action {
        /// QEMU ends.
        Destroy = "destroy",
        /// The guest starts again in the same QEMU.
        Restart = "restart",
        /// The guest stays as it is, stopped, to be looked at.
        Preserve = "preserve",
    }
}

/// `<pm>`: ACPI sleep states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PowerManagement {
    /// `<suspend-to-mem enabled=…/>`, S3: `no` is `-global ICH9-LPC.disable_s3=1` on q35, `PIIX4_PM.disable_s3=1` on
    /// i440fx; none leaves QEMU's default.
    pub suspend_to_mem: Option<bool>,
    /// `<suspend-to-disk enabled=…/>`, S4: the same with `disable_s4`.
    pub suspend_to_disk: Option<bool>,
}
