//! Switches about the machine as a whole: `-name`, `-machine`, `-cpu`, `-m`, `-smp`, clocks, actions, boot.

use std::borrow::Cow;
use std::ffi::OsString;
use std::path::Path;

use domain::{
    Action, BootMenu, Bytes, Domain, IoApic, MachineFamily, TickPolicy, TimerName, Topology, WatchdogAction,
    WatchdogModel,
};

use super::switch::{Properties, Switch, text};
use super::{CommandLineError, firmware, memory};
use crate::accelerator::Accelerator;
use crate::command::SetAction;

/// `-name`.
#[derive(Clone, Copy, Debug)]
pub struct Name<'a> {
    /// The domain's name.
    pub guest: &'a str,
}

impl Switch for Name<'_> {
    fn name(&self) -> &'static str {
        "-name"
    }

    fn value(&self) -> Option<OsString> {
        let value = Properties::new("").with("guest", self.guest).with_switch("debug-threads", true);
        Some(value.into_os_string())
    }
}

/// `-machine`.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// Versioned machine type.
    pub kind: &'a str,
    /// Which accelerator; none where `-accel` says it.
    pub accelerator: Option<Accelerator>,
    /// ACPI tables.
    pub acpi: bool,
    /// VMware's port; none leaves QEMU's default.
    pub vmport: Option<bool>,
    /// The high precision event timer; none leaves QEMU's default.
    pub hpet: Option<bool>,
    /// System management mode; none leaves QEMU's default.
    pub smm: Option<bool>,
    /// Who emulates interrupt controllers; none leaves QEMU's default.
    pub ioapic: Option<IoApic>,
    /// The keyboard controller; none leaves QEMU's default.
    pub i8042: Option<bool>,
    /// Node of the flash with the firmware's code.
    pub pflash0: Option<&'static str>,
    /// Node of the flash with the firmware's variables.
    pub pflash1: Option<&'static str>,
    /// Backend of all memory.
    pub memory_backend: Option<&'static str>,
    /// Whether the host may merge equal pages; none leaves QEMU's default.
    pub mem_merge: Option<bool>,
    /// Whether SeaBIOS uses the screen; none leaves QEMU's default (yes).
    pub graphics: Option<bool>,
}

impl<'a> Machine<'a> {
    /// Of a domain.
    pub fn new(domain: &'a Domain, accelerator: Accelerator) -> Self {
        let (code, variables) = firmware::flash(domain);
        Self {
            kind: &domain.os.machine,
            accelerator: Accel::new(domain, accelerator).is_none().then_some(accelerator),
            acpi: domain.features.acpi,
            vmport: domain.features.vmport,
            hpet: domain.clock.timer(TimerName::Hpet).and_then(|timer| timer.present),
            smm: domain.features.smm,
            ioapic: domain.features.ioapic,
            i8042: domain.features.ps2,
            pflash0: code.then_some(firmware::CODE),
            pflash1: variables.then_some(firmware::VARIABLES),
            memory_backend: memory::has_backend(domain).then_some(memory::RAM),
            mem_merge: domain.memory_backing.unmerged.then_some(false),
            graphics: domain.os.bios_serial.then_some(false),
        }
    }
}

impl Switch for Machine<'_> {
    fn name(&self) -> &'static str {
        "-machine"
    }

    fn value(&self) -> Option<OsString> {
        let mut value = Properties::new(self.kind)
            .with_some("accel", self.accelerator.map(text))
            .with_switch("usb", false)
            .with_switch("dump-guest-core", false)
            .with_switch("acpi", self.acpi);
        for (property, on) in [
            ("vmport", self.vmport),
            ("hpet", self.hpet),
            ("smm", self.smm),
            ("i8042", self.i8042),
            ("mem-merge", self.mem_merge),
            ("graphics", self.graphics),
        ] {
            if let Some(on) = on {
                value = value.with_switch(property, on);
            }
        }
        let irqchip = self.ioapic.map(|driver| match driver {
            IoApic::Kvm => "on",
            IoApic::Qemu => "split",
        });
        value = value
            .with_some("kernel_irqchip", irqchip)
            .with_some("memory-backend", self.memory_backend)
            .with_some("pflash0", self.pflash0)
            .with_some("pflash1", self.pflash1);
        Some(value.into_os_string())
    }
}

/// `-accel`, where there is more to say than which one.
#[derive(Clone, Copy, Debug)]
pub struct Accel {
    /// Which accelerator.
    pub accelerator: Accelerator,
    /// KVM's ring of changed pages, in entries.
    pub dirty_ring: Option<u32>,
    /// TCG's cache of translated code.
    pub tb_cache: Option<Bytes>,
}

impl Accel {
    /// Of a domain; none where nothing is said that this accelerator has.
    pub fn new(domain: &Domain, accelerator: Accelerator) -> Option<Self> {
        let (dirty_ring, tb_cache) = match accelerator {
            Accelerator::Kvm => (domain.features.kvm.dirty_ring, None),
            Accelerator::Tcg => (None, domain.features.tb_cache),
        };
        (dirty_ring.is_some() || tb_cache.is_some()).then_some(Self { accelerator, dirty_ring, tb_cache })
    }
}

impl Switch for Accel {
    fn name(&self) -> &'static str {
        "-accel"
    }

    fn value(&self) -> Option<OsString> {
        let value = Properties::new(&self.accelerator.to_string())
            .with_some("dirty-ring-size", self.dirty_ring)
            .with_some("tb-size", self.tb_cache.map(Bytes::mib));
        Some(value.into_os_string())
    }
}

/// `-smp`.
#[derive(Clone, Copy, Debug)]
pub struct Smp {
    /// vCPUs at start.
    pub cpus: u32,
    /// Most vCPUs; the product of the topology.
    pub cpus_max: u32,
    /// How they are arranged.
    pub topology: Topology,
}

impl Switch for Smp {
    fn name(&self) -> &'static str {
        "-smp"
    }

    fn value(&self) -> Option<OsString> {
        let Topology { sockets, dies, clusters: _, cores, threads } = self.topology;
        let value = Properties::new(&self.cpus.to_string())
            .with("maxcpus", self.cpus_max)
            .with("sockets", sockets)
            .with("dies", dies)
            .with("cores", cores)
            .with("threads", threads);
        Some(value.into_os_string())
    }
}

/// `-uuid`.
#[derive(Clone, Copy, Debug)]
pub struct Uuid {
    /// The domain's.
    pub uuid: uuid::Uuid,
}

impl Uuid {
    /// Of a frozen domain.
    pub fn new(domain: &Domain) -> Result<Self, CommandLineError> {
        let missing = || CommandLineError::NotFrozen { what: "UUID", of: format!("domain {}", domain.name) };
        Ok(Self { uuid: domain.uuid.ok_or_else(missing)? })
    }
}

impl Switch for Uuid {
    fn name(&self) -> &'static str {
        "-uuid"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.uuid.to_string().into())
    }
}

/// `-global`: a property of a device that is part of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Device type.
    pub driver: &'static str,
    /// Property.
    pub property: &'static str,
    /// Value.
    pub setting: Cow<'static, str>,
}

impl Global {
    /// Everything that a domain asks of the machine's own devices.
    pub fn all(domain: &Domain, accelerator: Accelerator) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add =
            |driver, property, setting: Cow<'static, str>| all.push(Self { driver, property, setting });
        let pit = domain.clock.timer(TimerName::Pit).and_then(|timer| timer.tickpolicy);
        // Only KVM's timer has the choice.
        if let (Accelerator::Kvm, Some(policy)) = (accelerator, pit) {
            add(
                "kvm-pit",
                "lost_tick_policy",
                if policy == TickPolicy::Discard { "discard" } else { "delay" }.into(),
            );
        }
        let power = match domain.os.family {
            MachineFamily::Q35 => "ICH9-LPC",
            MachineFamily::I440fx => "PIIX4_PM",
        };
        for (state, property) in
            [(domain.pm.suspend_to_mem, "disable_s3"), (domain.pm.suspend_to_disk, "disable_s4")]
        {
            if let Some(enabled) = state {
                add(power, property, if enabled { "0" } else { "1" }.into());
            }
        }
        if domain.watchdogs.iter().any(|watchdog| watchdog.model == WatchdogModel::Itco) {
            add("ICH9-LPC", "noreboot", "off".into());
        }
        if domain.os.firmware.secure == Some(true) {
            add("cfi.pflash01", "secure", "on".into());
        }
        if let Some(tseg) = domain.features.smm_tseg {
            add("mch", "extended-tseg-mbytes", tseg.mib().to_string().into());
        }
        all
    }
}

impl Switch for Global {
    fn name(&self) -> &'static str {
        "-global"
    }

    fn value(&self) -> Option<OsString> {
        let Self { driver, property, setting } = self;
        // QEMU ends the driver's name at the first dot, unless every part has a name.
        let value = match driver.contains('.') {
            true => format!("driver={driver},property={property},value={setting}"),
            false => format!("{driver}.{property}={setting}"),
        };
        Some(value.into())
    }
}

/// `-action`: what QEMU does when the guest ends.
///
/// The guest of `preserve` stays, stopped. A crashed guest that shall `restart` is stopped as well: QEMU has no such
/// action, so whoever sees `GUEST_PANICKED` sends `system_reset` and `cont`.
#[derive(Clone, Copy, Debug)]
pub struct Actions {
    /// `on_poweroff`.
    pub poweroff: Action,
    /// `on_reboot`.
    pub reboot: Action,
    /// `on_crash`.
    pub crash: Action,
    /// When the watchdog fires.
    pub watchdog: Option<WatchdogAction>,
}

impl Actions {
    /// Of a domain.
    pub fn new(domain: &Domain) -> Self {
        Self {
            poweroff: domain.on_poweroff,
            reboot: domain.on_reboot,
            crash: domain.on_crash,
            watchdog: domain.watchdogs.first().map(|watchdog| watchdog.action),
        }
    }
}

impl Switch for Actions {
    fn name(&self) -> &'static str {
        "-action"
    }

    fn value(&self) -> Option<OsString> {
        let shutdown = SetAction::of(self.poweroff).shutdown;
        let reboot = match self.reboot {
            Action::Restart => "reset",
            Action::Destroy | Action::Preserve => "shutdown",
        };
        let panic = match self.crash {
            Action::Destroy => "shutdown",
            Action::Restart | Action::Preserve => "pause",
        };
        let watchdog = self.watchdog.map(|action| match action {
            WatchdogAction::Reset => "reset",
            WatchdogAction::Shutdown => "shutdown",
            WatchdogAction::Poweroff => "poweroff",
            WatchdogAction::Pause => "pause",
            WatchdogAction::InjectNmi => "inject-nmi",
            WatchdogAction::None => "none",
        });
        let value =
            Properties::new("").with("shutdown", shutdown).with("reboot", reboot).with("panic", panic);
        Some(value.with_some("watchdog", watchdog).into_os_string())
    }
}

/// `-boot`. What is booted, and in which order, stands as `bootindex` on the devices.
#[derive(Clone, Copy, Debug)]
pub struct BootOptions {
    /// The firmware's menu.
    pub menu: Option<BootMenu>,
    /// Milliseconds until SeaBIOS tries again, -1 for never; none leaves QEMU's default.
    pub reboot_timeout_ms: Option<i32>,
}

impl Switch for BootOptions {
    fn name(&self) -> &'static str {
        "-boot"
    }

    fn value(&self) -> Option<OsString> {
        let mut value = Properties::new("");
        if let Some(menu) = self.menu {
            value = value.with_switch("menu", menu.enabled).with_some("splash-time", menu.timeout_ms);
        }
        let again = self.reboot_timeout_ms.map(text);
        Some(value.with_some("reboot-timeout", again).with_switch("strict", true).into_os_string())
    }
}

/// `-kernel`.
#[derive(Clone, Copy, Debug)]
pub struct Kernel<'a> {
    /// On this host.
    pub path: &'a Path,
}

impl Switch for Kernel<'_> {
    fn name(&self) -> &'static str {
        "-kernel"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.path.into())
    }
}

/// `-initrd`.
#[derive(Clone, Copy, Debug)]
pub struct Initrd<'a> {
    /// On this host.
    pub path: &'a Path,
}

impl Switch for Initrd<'_> {
    fn name(&self) -> &'static str {
        "-initrd"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.path.into())
    }
}

/// `-append`.
#[derive(Clone, Copy, Debug)]
pub struct Append<'a> {
    /// The kernel's command line.
    pub arguments: &'a str,
}

impl Switch for Append<'_> {
    fn name(&self) -> &'static str {
        "-append"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.arguments.into())
    }
}
