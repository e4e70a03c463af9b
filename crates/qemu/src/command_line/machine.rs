//! Switches about the machine as a whole: `-name`, `-machine`, `-cpu`, `-m`, `-smp`, clocks, actions, boot.

use std::ffi::OsString;
use std::path::Path;

use domain::{
    Action, BootMenu, Clock, ClockOffset, CpuMode, Domain, MachineFamily, TickPolicy, TimerName, Topology,
    WatchdogAction,
};

use super::CommandLineError;
use super::switch::{Properties, Switch, text};
use crate::accelerator::Accelerator;

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
    /// Which accelerator.
    pub accelerator: Accelerator,
    /// ACPI tables.
    pub acpi: bool,
    /// VMware's port; none leaves QEMU's default.
    pub vmport: Option<bool>,
    /// The high precision event timer; none leaves QEMU's default.
    pub hpet: Option<bool>,
}

impl<'a> Machine<'a> {
    /// Of a domain.
    pub fn new(domain: &'a Domain, accelerator: Accelerator) -> Self {
        Self {
            kind: &domain.os.machine,
            accelerator,
            acpi: domain.features.acpi,
            vmport: domain.features.vmport,
            hpet: domain.clock.timer(TimerName::Hpet).and_then(|timer| timer.present),
        }
    }
}

impl Switch for Machine<'_> {
    fn name(&self) -> &'static str {
        "-machine"
    }

    fn value(&self) -> Option<OsString> {
        let mut value = Properties::new(self.kind)
            .with("accel", text(self.accelerator))
            .with_switch("usb", false)
            .with_switch("dump-guest-core", false)
            .with_switch("acpi", self.acpi);
        if let Some(vmport) = self.vmport {
            value = value.with_switch("vmport", vmport);
        }
        if let Some(hpet) = self.hpet {
            value = value.with_switch("hpet", hpet);
        }
        Some(value.into_os_string())
    }
}

/// `-cpu`.
#[derive(Clone, Debug)]
pub struct Cpu {
    value: Properties,
}

impl Cpu {
    /// Of a domain; `host_model` is what that mode was expanded to.
    pub fn new(
        domain: &Domain,
        accelerator: Accelerator,
        host_model: Option<&str>,
    ) -> Result<Self, CommandLineError> {
        const WITHOUT_MODEL: &str = "qemu64";
        let mut value = match domain.cpu.as_ref().map(|cpu| &cpu.mode) {
            None | Some(CpuMode::Default) => Properties::new(WITHOUT_MODEL),
            Some(CpuMode::Custom { model }) => Properties::new(model),
            Some(CpuMode::HostModel) => Properties::new(host_model.ok_or(CommandLineError::NoHostModel)?),
            Some(CpuMode::HostPassthrough { migratable }) => {
                let name = match accelerator {
                    Accelerator::Kvm => "host",
                    Accelerator::Tcg => "max",
                };
                let switch = migratable.map(|migratable| if migratable { "on" } else { "off" });
                Properties::new(name).with_some("migratable", switch)
            }
        };
        for feature in domain.cpu.iter().flat_map(|cpu| &cpu.features) {
            value = value.with_switch(feature_name(&feature.name), feature.policy.enabled());
        }
        if let Some(present) = domain.clock.timer(TimerName::Kvmclock).and_then(|timer| timer.present) {
            value = value.with_switch("kvmclock", present);
        }
        Ok(Self { value })
    }
}

impl Switch for Cpu {
    fn name(&self) -> &'static str {
        "-cpu"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.value.clone().into_os_string())
    }
}

/// QEMU's name of a CPU feature. QEMU takes `_` for `-`; one of libvirt's names is another word.
fn feature_name(name: &str) -> &str {
    match name {
        "pclmuldq" => "pclmulqdq",
        name => name,
    }
}

/// `-m`.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// MiB.
    pub size_mib: u64,
}

impl Switch for Memory {
    fn name(&self) -> &'static str {
        "-m"
    }

    fn value(&self) -> Option<OsString> {
        Some(format!("size={}M", self.size_mib).into())
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

/// `-rtc`.
#[derive(Clone, Copy, Debug)]
pub struct Rtc {
    /// What the clock shows.
    pub base: ClockOffset,
    /// Whether missed ticks are made up for.
    pub catch_up: bool,
}

impl Rtc {
    /// Of a domain's clock.
    pub fn new(clock: &Clock) -> Self {
        let policy = clock.timer(TimerName::Rtc).and_then(|timer| timer.tickpolicy);
        Self { base: clock.offset, catch_up: policy == Some(TickPolicy::Catchup) }
    }
}

impl Switch for Rtc {
    fn name(&self) -> &'static str {
        "-rtc"
    }

    fn value(&self) -> Option<OsString> {
        let base = match self.base {
            ClockOffset::Utc => "utc",
            ClockOffset::Localtime => "localtime",
        };
        let value = Properties::new("").with("base", base);
        Some(value.with_some("driftfix", self.catch_up.then_some("slew")).into_os_string())
    }
}

/// `-global`: a property of a device that is part of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// Device type.
    pub driver: &'static str,
    /// Property.
    pub property: &'static str,
    /// Value.
    pub setting: &'static str,
}

impl Global {
    /// Everything that a domain asks of the machine's own devices.
    pub fn all(domain: &Domain, accelerator: Accelerator) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |driver, property, setting| all.push(Self { driver, property, setting });
        let pit = domain.clock.timer(TimerName::Pit).and_then(|timer| timer.tickpolicy);
        // Only KVM's timer has the choice.
        if let (Accelerator::Kvm, Some(policy)) = (accelerator, pit) {
            add(
                "kvm-pit",
                "lost_tick_policy",
                if policy == TickPolicy::Discard { "discard" } else { "delay" },
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
                add(power, property, if enabled { "0" } else { "1" });
            }
        }
        if !domain.watchdogs.is_empty() {
            add("ICH9-LPC", "noreboot", "off");
        }
        all
    }
}

impl Switch for Global {
    fn name(&self) -> &'static str {
        "-global"
    }

    fn value(&self) -> Option<OsString> {
        Some(format!("{}.{}={}", self.driver, self.property, self.setting).into())
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
        let shutdown = match self.poweroff {
            Action::Destroy => "poweroff",
            Action::Restart | Action::Preserve => "pause",
        };
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
        Some(value.with_switch("strict", true).into_os_string())
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
