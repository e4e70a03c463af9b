//! libvirt domain XML: read typed, edited losslessly. No I/O, no clock. The main type is [`Definition`].
#![forbid(unsafe_code)]

mod address;
mod character;
mod controller;
mod cpu;
mod definition;
mod device;
mod disk;
mod display;
mod domain;
mod interface;
pub mod limits;
mod os;
mod problem;
mod word;

pub use address::{PciAddress, UsbAddress, VirtioSerialAddress};
pub use character::{Channel, CharacterBackend, Console, ConsoleTarget, Endpoint, Serial, SocketMode};
pub use controller::{Controller, ControllerModel, RootPortDevice, UsbModel};
pub use cpu::{Cpu, CpuCheck, CpuFeature, CpuMode, CpuModel, FeaturePolicy, Topology};
pub use definition::{Definition, Freezer};
pub use device::{Memballoon, MemballoonModel, Rng, RngBackend, RngRate, Watchdog, WatchdogAction};
pub use disk::{DetectZeroes, Disk, DiskBus, DiskCache, DiskDiscard, DiskFormat, DiskIo};
pub use display::{Graphics, Input, InputBus, InputKind, Video, VideoModel};
pub use domain::{
    Action, Bytes, Clock, ClockOffset, Domain, Features, FileRole, FileUse, Kind, PowerManagement, TickPolicy, Timer,
    TimerName,
};
pub use interface::{Interface, InterfaceModel, MacAddress, MacAddressError};
pub use os::{BootDevice, BootMenu, MachineFamily, Os};
pub use problem::{DefinitionError, Problem};
