//! What the machine is made of beside its devices: features, clocks, the processor.

use crate::fixture::{corpus, listed};
use domain::{
    AddressBits, CacheMode, ClockBasis, ClockOffset, CpuMode, Definition, Domain, HypervFeature, IoApic,
    TimerName,
};

/// `web1.xml` with one piece replaced.
fn replaced(from: &str, to: &str) -> Result<Definition, domain::DefinitionError> {
    let web1 = corpus("web1.xml");
    assert_eq!(web1.matches(from).count(), 1, "`{from}` is there once");
    Definition::parse(&web1.replace(from, to))
}

fn with(from: &str, to: &str) -> Domain {
    replaced(from, to).expect("it is good").domain().clone()
}

fn refused(from: &str, to: &str) -> String {
    listed(&replaced(from, to).expect_err("it is refused"))
}

const FEATURES: &str = "<features>";
const CPU: &str = "<cpu mode='host-model'/>";

#[test]
fn hyperv_is_read_feature_by_feature() {
    let hyperv = "<features><hyperv><relaxed state='on'/><vapic state='off'/>
        <spinlocks state='on' retries='8191'/><stimer state='on'><direct state='on'/></stimer>
        <tlbflush state='off'><direct state='on'/></tlbflush>
        <vendor_id state='on' value='Ferry'/></hyperv>";
    let hyperv = with(FEATURES, hyperv).features.hyperv;
    assert!(!hyperv.passthrough);
    let expect = [
        (HypervFeature::Relaxed, true),
        (HypervFeature::Vapic, false),
        (HypervFeature::Stimer, true),
        (HypervFeature::Tlbflush, false),
    ];
    assert_eq!(hyperv.features, expect);
    assert!(hyperv.stimer_direct && !hyperv.tlbflush_direct);
    assert_eq!((hyperv.spinlock_retries, hyperv.vendor_id.as_deref()), (Some(8191), Some("Ferry")));
}

#[test]
fn features_that_make_no_sense_are_refused() {
    let wrong = "<features><hyperv mode='host'><relaxed state='maybe'/><spinlocks state='on' retries='7'/>
<vendor_id state='on' value='a vendor, too long'/><warp state='on'/><relaxed state='on'/></hyperv>
<kvm><dirty-ring state='on' size='5000'/><hint/></kvm><gic version='3'/><warp/><ioapic driver='xen'/>
<smm><tseg unit='KiB'>7</tseg></smm>";
    insta::assert_snapshot!(refused(FEATURES, wrong), @r"
    line 10, column 21, /domain/features/hyperv/@mode: `host` is not supported as `mode` of <hyperv>; write mode='custom' and the features
    line 10, column 42, /domain/features/hyperv/relaxed[1]/@state: `maybe` is not a value of `state` of <relaxed>; write `on` or `off`
    line 10, column 79, /domain/features/hyperv/spinlocks/@retries: `7` is not a value of `retries` of <spinlocks>; write a whole number from 4095 to 4294967295
    line 11, column 23, /domain/features/hyperv/vendor_id/@value: `a vendor, too long` is not a vendor that a hypervisor can have; write at most 12 ASCII characters, none of them a comma
    line 11, column 51, /domain/features/hyperv/warp: <warp> in <hyperv> is not supported; remove it if the guest can do without it
    line 11, column 69, /domain/features/hyperv/relaxed[2]: a second <relaxed> in <hyperv>; keep one of the two
    line 12, column 29, /domain/features/kvm/dirty-ring/@size: 5000 is not a power of two; write size='4096'
    line 12, column 42, /domain/features/kvm/hint: <hint> in <kvm> is not supported; remove it if the guest can do without it
    line 12, column 55, /domain/features/gic: <gic> is for another kind of hypervisor or machine; remove it: an x86 guest of QEMU does not have it
    line 12, column 73, /domain/features/warp: <warp> in <features> is not supported; remove it if the guest can do without it
    line 12, column 88, /domain/features/ioapic/@driver: `xen` is not supported as `driver` of <ioapic>; write one of `kvm`, `qemu`
    line 13, column 6, /domain/features/smm/tseg: 7 KiB is not a whole number of MiB; write whole MiB
    ");
}

#[test]
fn switches_are_read() {
    let features = "<features><apic eoi='on'/><smm state='on'><tseg unit='MiB'>48</tseg></smm><pmu state='off'/>
        <pvspinlock/><vmcoreinfo state='on'/><ps2 state='off'/><ioapic driver='qemu'/><async-teardown enabled='yes'/>
        <kvm><hidden state='on'/><pv-ipi state='on'/><dirty-ring state='on' size='4096'/></kvm>
        <tcg><tb-cache unit='GiB'>1</tb-cache></tcg>";
    let features = with(&format!("{FEATURES}\n    <acpi/>\n    <apic/>"), features).features;
    assert_eq!((features.apic_eoi, features.smm, features.pmu), (Some(true), Some(true), Some(false)));
    assert_eq!((features.pvspinlock, features.ps2), (Some(true), Some(false)));
    assert_eq!(features.smm_tseg.map(domain::Bytes::mib), Some(48));
    assert_eq!(features.tb_cache.map(domain::Bytes::mib), Some(1024));
    assert!(features.vmcoreinfo && features.kvm.hidden && !features.kvm.pv_ipi_off);
    assert_eq!((features.ioapic, features.kvm.dirty_ring), (Some(IoApic::Qemu), Some(4096)));
}

#[test]
fn clocks_are_told_apart() {
    let check = |clock: &str, expect: ClockOffset| {
        assert_eq!(with(FEATURES, &format!("{clock}{FEATURES}")).clock.offset, expect, "{clock}");
    };
    check("<clock offset='utc' adjustment='reset'/>", ClockOffset::Utc);
    check("<clock offset='localtime'/>", ClockOffset::Localtime);
    let variable = ClockOffset::Variable { adjustment_s: -3600, basis: ClockBasis::Localtime };
    check("<clock offset='variable' adjustment='-3600' basis='localtime'/>", variable);
    check("<clock offset='absolute' start='1234'/>", ClockOffset::Absolute { start_s: 1234 });
}

#[test]
fn clocks_that_make_no_sense_are_refused() {
    let wrong = "<clock offset='timezone' timezone='Europe/Berlin'/><features>";
    insta::assert_snapshot!(refused(FEATURES, wrong), @"line 10, column 10, /domain/clock/@offset: `timezone` is not supported as `offset` of <clock>; write `localtime`, or `variable` with the seconds from UTC as `adjustment`");
    let wrong = "<clock offset='variable' adjustment='soon'><timer name='tsc' frequency='0' track='wall'/>
<timer name='hpet' frequency='1'/></clock><features>";
    insta::assert_snapshot!(refused(FEATURES, wrong), @r"
    line 10, column 28, /domain/clock/@adjustment: `soon` is not a value of `adjustment` of <clock>; write a whole number of seconds
    line 10, column 64, /domain/clock/timer[1]/@frequency: `0` is not a frequency; write a whole number of Hz
    line 10, column 78, /domain/clock/timer[1]/@track: timer `tsc` has no `track`; remove `track`
    line 11, column 20, /domain/clock/timer[2]/@frequency: timer `hpet` has no `frequency`; remove `frequency`
    ");
}

#[test]
fn a_variable_clock_says_what_is_not_done() {
    let definition = replaced(FEATURES, "<clock offset='variable'/><features>").expect("it is good");
    let notes: Vec<_> = definition.notes().iter().map(|note| note.element.as_str()).collect();
    assert_eq!(notes, ["/domain/clock"]);
    assert_eq!(definition.domain().clock.timer(TimerName::Rtc), None);
}

#[test]
fn processors_are_read() {
    let cpu = with(
        CPU,
        "<cpu mode='maximum' migratable='on'><cache level='3' mode='emulate'/>
        <maxphysaddr mode='emulate' bits='42'/></cpu>",
    );
    let cpu = cpu.cpu.expect("there is one");
    assert_eq!(cpu.mode, CpuMode::Maximum { migratable: Some(true) });
    assert_eq!((cpu.cache, cpu.address_bits), (Some(CacheMode::Emulate), Some(AddressBits::Emulate(42))));
}

#[test]
fn processors_that_make_no_sense_are_refused() {
    let wrong = "<cpu mode='custom' migratable='on'><model vendor_id='GenuineIntel'>EPYC</model>
<cache level='2' mode='passthrough'/><maxphysaddr mode='emulate' bits='99' limit='40'/></cpu>";
    insta::assert_snapshot!(refused(CPU, wrong), @r"
    line 14, column 22, /domain/cpu/@migratable: `migratable` is only for mode='host-passthrough' and mode='maximum'; remove `migratable`
    line 14, column 45, /domain/cpu/model/@vendor_id: `vendor_id` gives the guest a processor of a vendor who never made it; remove it: the model has its own vendor
    line 15, column 8, /domain/cpu/cache/@level: QEMU has no cache mode `passthrough` for level 2; remove `level`
    line 15, column 18, /domain/cpu/cache/@mode: the host's caches beside a processor that is not the host's; write mode='emulate', or remove the <cache>
    line 15, column 66, /domain/cpu/maxphysaddr/@bits: `99` is not a value of `bits` of <maxphysaddr>; write a whole number from 32 to 52
    line 15, column 76, /domain/cpu/maxphysaddr/@limit: attribute `limit` of <maxphysaddr> is not supported; remove the attribute if the guest can do without it
    ");
}

#[test]
fn what_the_guest_sees_of_features_is_compared() {
    let one = with(FEATURES, "<features><hyperv><ipi state='on'/><vapic state='on'/></hyperv>");
    let other = "<features><hyperv><vapic state='on'/><ipi state='on'/><reset state='off'/></hyperv>
        <tcg><tb-cache>1024</tb-cache></tcg>";
    assert_eq!(one.guest_abi_differences(&with(FEATURES, other)), []);
    let differences = one.guest_abi_differences(&with(FEATURES, "<features><hyperv><ipi/></hyperv>"));
    assert_eq!(differences.len(), 1, "{differences:?}");
    assert_eq!(differences[0].element, "/domain/features");
}
