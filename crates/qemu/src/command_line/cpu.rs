//! `-cpu`: the processor, and what a hypervisor shows of itself through it.

use std::ffi::OsString;

use domain::{
    AddressBits, CacheMode, Clock, CpuMode, Domain, Features, Hyperv, HypervFeature, KvmFeatures, PanicModel,
    TimerName,
};

use super::CommandLineError;
use super::switch::{Properties, Switch};
use crate::accelerator::Accelerator;

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
        let own = |name, migratable: Option<bool>| {
            let switch = migratable.map(|migratable| if migratable { "on" } else { "off" });
            Properties::new(name).with_some("migratable", switch)
        };
        let mut value = match domain.cpu.as_ref().map(|cpu| &cpu.mode) {
            None | Some(CpuMode::Default) => Properties::new(WITHOUT_MODEL),
            Some(CpuMode::Custom { model }) => Properties::new(model),
            Some(CpuMode::HostModel) => Properties::new(host_model.ok_or(CommandLineError::NoHostModel)?),
            Some(CpuMode::HostPassthrough { migratable }) => match accelerator {
                Accelerator::Kvm => own("host", *migratable),
                Accelerator::Tcg => own("max", *migratable),
            },
            Some(CpuMode::Maximum { migratable }) => own("max", *migratable),
        };
        for feature in domain.cpu.iter().flat_map(|cpu| &cpu.features) {
            value = value.with_switch(feature_name(&feature.name), feature.policy.enabled());
        }
        value = timers(value, &domain.clock);
        value = hypervisor(value, &domain.features);
        value = hyperv(value, &domain.features.hyperv);
        if domain.panics.iter().any(|panic| panic.model == PanicModel::Hyperv) {
            value = value.with_switch("hv-crash", true);
        }
        value = kvm(value, &domain.features.kvm);
        value = cache(value, domain);
        let address_bits = domain.cpu.as_ref().and_then(|cpu| cpu.address_bits);
        value = match address_bits {
            None => value,
            Some(AddressBits::Emulate(bits)) => value.with("phys-bits", bits),
            Some(AddressBits::Passthrough { limit }) => {
                value.with_switch("host-phys-bits", true).with_some("host-phys-bits-limit", limit)
            }
        };
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

fn timers(mut value: Properties, clock: &Clock) -> Properties {
    for (timer, property) in [(TimerName::Kvmclock, "kvmclock"), (TimerName::Hypervclock, "hv-time")] {
        if let Some(present) = clock.timer(timer).and_then(|timer| timer.present) {
            value = value.with_switch(property, present);
        }
    }
    value.with_some("tsc-frequency", clock.timer(TimerName::Tsc).and_then(|timer| timer.frequency_hz))
}

fn hypervisor(mut value: Properties, features: &Features) -> Properties {
    let switches =
        [("kvm-pv-eoi", features.apic_eoi), ("kvm-pv-unhalt", features.pvspinlock), ("pmu", features.pmu)];
    for (property, on) in switches {
        if let Some(on) = on {
            value = value.with_switch(property, on);
        }
    }
    value
}

fn hyperv(mut value: Properties, hyperv: &Hyperv) -> Properties {
    if hyperv.passthrough {
        value = value.with_switch("hv-passthrough", true);
    }
    for (feature, on) in &hyperv.features {
        // A feature that is off is QEMU's default, except among all that the host has.
        if *on || hyperv.passthrough {
            value = value.with_switch(hyperv_property(*feature), *on);
        }
    }
    for (property, on) in [
        ("hv-stimer-direct", hyperv.stimer_direct),
        ("hv-tlbflush-direct", hyperv.tlbflush_direct),
        ("hv-tlbflush-ext", hyperv.tlbflush_extended),
    ] {
        if on {
            value = value.with_switch(property, true);
        }
    }
    let retries = hyperv.spinlock_retries.map(|retries| format!("{retries:#x}"));
    value.with_some("hv-spinlocks", retries).with_some("hv-vendor-id", hyperv.vendor_id.as_ref())
}

fn hyperv_property(feature: HypervFeature) -> &'static str {
    match feature {
        HypervFeature::Relaxed => "hv-relaxed",
        HypervFeature::Vapic => "hv-vapic",
        HypervFeature::Vpindex => "hv-vpindex",
        HypervFeature::Runtime => "hv-runtime",
        HypervFeature::Synic => "hv-synic",
        HypervFeature::Stimer => "hv-stimer",
        HypervFeature::Reset => "hv-reset",
        HypervFeature::Frequencies => "hv-frequencies",
        HypervFeature::Reenlightenment => "hv-reenlightenment",
        HypervFeature::Tlbflush => "hv-tlbflush",
        HypervFeature::Ipi => "hv-ipi",
        HypervFeature::Evmcs => "hv-evmcs",
        HypervFeature::Avic => "hv-avic",
        HypervFeature::EmsrBitmap => "hv-emsr-bitmap",
        HypervFeature::XmmInput => "hv-xmm-input",
    }
}

fn kvm(mut value: Properties, kvm: &KvmFeatures) -> Properties {
    let KvmFeatures { hidden, hint_dedicated, poll_control, pv_ipi_off, dirty_ring: _ } = *kvm;
    for (wanted, property, on) in [
        (hidden, "kvm", false),
        (hint_dedicated, "kvm-hint-dedicated", true),
        (poll_control, "kvm-poll-control", true),
        (pv_ipi_off, "kvm-pv-ipi", false),
    ] {
        if wanted {
            value = value.with_switch(property, on);
        }
    }
    value
}

fn cache(value: Properties, domain: &Domain) -> Properties {
    let Some(cpu) = &domain.cpu else { return value };
    let Some(mode) = cpu.cache else { return value };
    let own = matches!(cpu.mode, CpuMode::HostPassthrough { .. } | CpuMode::Maximum { .. });
    let value =
        if own { value.with_switch("host-cache-info", mode == CacheMode::Passthrough) } else { value };
    value.with_switch("l3-cache", mode == CacheMode::Emulate)
}
