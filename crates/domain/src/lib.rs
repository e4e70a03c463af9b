//! libvirt domain XML: read typed, edited losslessly. No I/O, no clock. The main type is [`Definition`].
//!
//! What the guest sees and is not supported is refused, all of it at once, with line, column and what to do: a
//! definition never means less than it says. What the guest does not see is kept in the text. Of that, `<metadata>`,
//! `<seclabel>` (each host has its own rules), `<resource>`, comments and what only a running domain has (`id`,
//! `<alias>`, `<backingStore/>`, terminals, made-up taps and sockets) means nothing here; tuning of the host
//! (`<cputune>`, `<memoryBacking>`, `cpuset` and their like) is kept, not applied, and listed in
//! [`Definition::notes`].
#![forbid(unsafe_code)]

mod abi;
mod address;
mod amount;
mod attach;
mod change;
mod character;
mod check;
mod clock;
mod controller;
mod cpu;
mod definition;
mod device;
mod disk;
mod display;
mod domain;
mod drives;
mod edit;
mod elsewhere;
mod features;
mod firmware;
mod freeze;
mod hostdev;
mod input;
mod install;
mod interface;
mod iothread;
pub mod limits;
mod memory;
mod named;
mod network;
mod os;
mod pool;
mod problem;
mod read;
mod reader;
mod slots;
mod sound;
mod stream;
mod sysinfo;
mod tpm;
mod usb;
mod volume;
mod word;

pub use abi::AbiDifference;
pub use address::{DriveAddress, PciAddress, UsbAddress, UsbPort, VirtioSerialAddress};
pub use attach::Attached;
pub use character::{Channel, Console, ConsoleTarget, Parallel, Serial, SerialTarget};
pub use clock::{Clock, ClockBasis, ClockOffset, TickPolicy, Timer, TimerName, TimerTrack};
pub use controller::{
    Controller, ControllerModel, Ich9Part, RootPortDevice, ScsiDriver, ScsiModel, UsbModel,
};
pub use cpu::{
    AddressBits, CacheMode, Cpu, CpuCheck, CpuFeature, CpuMode, CpuModel, FeaturePolicy, Topology,
};
pub use definition::{Definition, Freezer};
pub use device::{
    Iommu, Memballoon, MemballoonModel, Panic, PanicModel, Rng, RngBackend, RngRate, Vsock, Watchdog,
    WatchdogAction, WatchdogModel,
};
pub use disk::{
    BlockIo, DetectZeroes, Disk, DiskBus, DiskCache, DiskDevice, DiskDiscard, DiskDriver, DiskFormat, DiskIo,
    DiskSource, ErrorPolicy, Iotune, Rate, Rates, StartupPolicy, VirtioModel,
};
pub use display::{Graphics, Listen, Protocol, SharePolicy, Video, VideoModel, Websocket};
pub use domain::{Action, Bytes, Domain, FileRole, FileUse, Kind, PowerManagement};
pub use elsewhere::{Elsewhere, is_device};
pub use features::{Features, Hyperv, HypervFeature, IoApic, KvmFeatures};
pub use firmware::{
    Firmware, FirmwareChoice, FirmwareKind, FirmwareRequest, FlashFormat, Loader, LoaderKind, Nvram,
};
pub use hostdev::{Hostdev, HostdevSource};
pub use input::{Input, InputBus, InputKind};
pub use install::{NewDisk, NewDomain, NewInterface, System};
pub use interface::{
    Interface, InterfaceDriver, InterfaceModel, InterfaceSource, MacAddress, MacAddressError, Rom,
};
pub use iothread::IoThread;
pub use memory::{HostNodeMode, HostNodes, Hugepages, MemoryBacking, MemorySource, NumaCell};
pub use named::{Named, named};
pub use network::network_bridge;
pub use os::{BootDevice, BootMenu, MachineFamily, Os};
pub use pool::{Netfs, Pool, PoolKind};
pub use problem::{DefinitionError, Problem};
pub use sound::{Audio, Sound, SoundCodec, SoundModel};
pub use stream::{CharacterBackend, CharacterLog, CharacterOptions, Endpoint, SocketMode};
pub use sysinfo::{FwCfgEntry, FwCfgValue, SmbiosKind, SmbiosTable, SystemInformation};
pub use tpm::{Tpm, TpmModel, TpmVersion};
pub use usb::{Hub, Redirdev};
pub use volume::with_volumes_resolved;
