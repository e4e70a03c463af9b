//! QEMU's command line, one struct for every switch, written from a frozen definition.
//!
//! What the guest can see comes from the definition alone: the same definition gives the same guest on the source
//! and on the target. Everything follows what libvirt writes for the same XML where that is visible to the guest.
//! Nothing here looks at the host or starts anything. The main type is [`CommandLine`], made from a [`Launch`].

mod character;
mod clock;
mod cpu;
mod device;
mod disk;
mod display;
mod firmware;
mod hostdev;
mod interface;
mod machine;
mod memory;
mod missing;
mod pci;
pub mod plug;
mod switch;
mod tpm;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use domain::Domain;
use jiff::Zoned;

pub use self::character::Chardev;
pub use self::clock::Rtc;
pub use self::cpu::Cpu;
pub use self::device::{BALLOON, Balloon, Entropy, RngObject};
pub(crate) use self::disk::copy;
pub use self::disk::{Blockdev, BlockdevCache, NfsServer, disk_id, node_name, top_node};
pub use self::display::{Keymap, Screen};
pub use self::firmware::{Bios, FwCfg, Smbios};
pub use self::interface::{Netdev, device_id};
pub use self::machine::{
    Accel, Actions, Append, BootOptions, Global, Initrd, Kernel, Machine, Name, Smp, Uuid,
};
pub use self::memory::{Backend, Memory, NumaNode};
pub use self::missing::{MissingDevice, missing_devices};
pub use self::pci::ControllerDevice;
use self::switch::text;
pub use self::switch::{Device, Object, Plain, Properties, Setting, Switch};
pub use self::tpm::SWTPM_SOCKET;
use crate::accelerator::Accelerator;

/// What a command line is made from.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// The typed view of a frozen definition.
    pub domain: &'a Domain,
    /// Which accelerator; the caller has seen that it works.
    pub accelerator: Accelerator,
    /// The value of `-cpu` that `host-model` was expanded to; used for that mode only.
    pub cpu: Option<&'a str>,
    /// Directory of sockets that the definition leaves to Ferry.
    pub run_directory: &'a Path,
    /// Tap names, one for every interface in order. QEMU makes taps that are not there; those of user networking are
    /// not used.
    pub taps: &'a [String],
    /// A free TCP port for SPICE, used where the definition leaves it open. QEMU looks for one itself for VNC only.
    pub spice_port: Option<u16>,
    /// Whether network packets go through the host kernel's vhost-net. The guest does not see it.
    pub vhost: bool,
    /// Whether QEMU waits for a migration (`-incoming defer`).
    pub incoming: bool,
    /// What time it is, in the host's time zone: for a clock that is set off from it.
    pub now: &'a Zoned,
}

/// Why a definition has no command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandLineError {
    /// The definition leaves open what may not drift; it has to be frozen first.
    #[error("the definition leaves open the {what} of {of}; freeze it first")]
    NotFrozen {
        /// What is missing.
        what: &'static str,
        /// Of which device.
        of: String,
    },
    /// `host-model` without its expansion.
    #[error("the CPU is host-model, and no expansion of it was given")]
    NoHostModel,
    /// Not one tap name for every interface.
    #[error("{interfaces} interfaces and {taps} tap names do not match")]
    Taps {
        /// How many interfaces.
        interfaces: usize,
        /// How many taps.
        taps: usize,
    },
    /// SPICE without a port, and none was given.
    #[error("the port for SPICE is left open, and no free one was given")]
    NoSpicePort,
    /// A Unix socket path that the kernel does not take (unix(7): 107 bytes).
    #[error("the socket path {} is longer than {limit} bytes", path.display())]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// The kernel's bound.
        limit: usize,
    },
    /// Controllers that sit on buses nobody makes, or on each other.
    #[error("PCI controller {index} sits on bus {bus}, which no controller makes")]
    NoBus {
        /// Its index.
        index: u32,
        /// The bus it asks for.
        bus: u8,
    },
}

/// Arguments for QEMU, in order, without the program's name, the QMP monitor and the pidfile, which
/// [`crate::process::Process::spawn`] adds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    arguments: Vec<OsString>,
}

impl CommandLine {
    /// The command line of a domain. QEMU always starts stopped (`-S`): whoever started it sends `cont`.
    pub fn new(launch: &Launch<'_>) -> Result<Self, CommandLineError> {
        let domain = launch.domain;
        if launch.taps.len() != domain.interfaces.len() {
            let (interfaces, taps) = (domain.interfaces.len(), launch.taps.len());
            return Err(CommandLineError::Taps { interfaces, taps });
        }
        let mut line = Self::default();
        line.push(&Name { guest: &domain.name });
        line.push_basics();
        firmware::push(&mut line, domain)?;
        line.push(&Machine::new(domain, launch.accelerator));
        if let Some(accel) = Accel::new(domain, launch.accelerator) {
            line.push(&accel);
        }
        line.push(&Cpu::new(domain, launch.accelerator, launch.cpu)?);
        memory::push(&mut line, domain);
        line.push(&Smp { cpus: domain.vcpus_current, cpus_max: domain.vcpus, topology: domain.topology() });
        line.push(&Uuid::new(domain)?);
        line.push(&Rtc { clock: &domain.clock, now: launch.now });
        for global in Global::all(domain, launch.accelerator) {
            line.push(&global);
        }
        line.push(&Actions::new(domain));
        line.push(&BootOptions { menu: domain.os.boot_menu, reboot_timeout_ms: domain.os.reboot_timeout_ms });
        line.push_kernel(domain);
        disk::push_iothreads(&mut line, domain);
        device::push_iommu(&mut line, domain);
        pci::push(&mut line, domain)?;
        disk::push(&mut line, domain)?;
        interface::push(&mut line, launch)?;
        display::push_hubs(&mut line, domain)?;
        character::push(&mut line, launch)?;
        display::push(&mut line, launch)?;
        hostdev::push(&mut line, domain)?;
        device::push(&mut line, domain)?;
        tpm::push(&mut line, launch)?;
        if launch.incoming {
            line.push(&Plain("-incoming", "defer"));
        }
        Ok(line)
    }

    /// A QEMU without a domain, to ask it what it can do. `machine` may be `none`.
    pub fn probe(machine: &str, accelerator: Accelerator, cpu: Option<&str>) -> Self {
        let mut line = Self::default();
        line.push_basics();
        let machine = Properties::new(machine).with("accel", text(accelerator));
        line.push(&Plain("-machine", &machine.to_string()));
        if let Some(cpu) = cpu {
            line.push(&Plain("-cpu", cpu));
        }
        line
    }

    /// Appends a switch.
    pub fn push(&mut self, switch: &dyn Switch) {
        self.arguments.push(switch.name().into());
        self.arguments.extend(switch.value());
    }

    /// The arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        self.arguments.clone()
    }

    /// The types of the devices on it, by QEMU's names, in order.
    pub fn devices(&self) -> Vec<String> {
        let values = self.arguments.windows(2).filter(|pair| pair[0] == "-device").map(|pair| &pair[1]);
        let driver = |value: &OsString| {
            let value = value.to_string_lossy();
            value.split(',').next().unwrap_or_default().to_owned()
        };
        values.map(driver).collect()
    }

    /// What every QEMU gets: no configuration files and no devices but those named here, stopped, sandboxed.
    fn push_basics(&mut self) {
        self.push(&Flag("-no-user-config"));
        self.push(&Flag("-nodefaults"));
        self.push(&Plain("-display", "none"));
        self.push(&Flag("-S"));
        self.push(&Plain("-msg", "timestamp=on"));
        self.push(&Plain(
            "-sandbox",
            "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        ));
    }

    fn push_kernel(&mut self, domain: &Domain) {
        if let Some(path) = &domain.os.kernel {
            self.push(&Kernel { path });
        }
        if let Some(path) = &domain.os.initrd {
            self.push(&Initrd { path });
        }
        if let Some(arguments) = &domain.os.cmdline {
            self.push(&Append { arguments });
        }
    }
}

/// One switch a line, as a person reads it.
impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, argument) in self.arguments.iter().enumerate() {
            let argument = argument.to_string_lossy();
            let separator = match (place, argument.starts_with('-')) {
                (0, _) => "",
                (_, true) => "\n",
                (_, false) => " ",
            };
            write!(formatter, "{separator}{argument}")?;
        }
        Ok(())
    }
}

/// A switch without a value.
struct Flag(&'static str);

impl Switch for Flag {
    fn name(&self) -> &'static str {
        self.0
    }

    fn value(&self) -> Option<OsString> {
        None
    }
}

#[cfg(test)]
pub(crate) mod tests;
