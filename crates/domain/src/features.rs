//! `<features>`: what the machine offers beside its devices. It never knows which accelerator can give it.

use crate::domain::Bytes;
use crate::limits::{DIRTY_RING_ENTRIES_MAX, SPINLOCK_RETRIES_MIN, VENDOR_ID_BYTES_MAX};
use crate::reader::{Node, Reader, is};
use crate::word::words;

/// `<features>`. A switch that is `None` leaves QEMU's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// `<acpi/>`; without it libvirt starts the machine with `acpi=off`.
    pub acpi: bool,
    /// `<apic/>`; changes nothing on the command line, as in libvirt.
    pub apic: bool,
    /// `<apic eoi=…/>`: a CPU feature of KVM's (`kvm-pv-eoi`).
    pub apic_eoi: Option<bool>,
    /// `<pae/>`; changes nothing on the command line, as in libvirt.
    pub pae: bool,
    /// `<vmport state=…/>` (QEMU's `-machine vmport=`).
    pub vmport: Option<bool>,
    /// `<smm state=…/>`: system management mode (QEMU's `-machine smm=`).
    pub smm: Option<bool>,
    /// `<smm><tseg>`: how much memory SMM hides (QEMU's `mch.extended-tseg-mbytes`), whole MiB; q35 only.
    pub smm_tseg: Option<Bytes>,
    /// `<ioapic driver=…/>`: who emulates interrupt controllers (QEMU's `-machine kernel_irqchip=`).
    pub ioapic: Option<IoApic>,
    /// `<pmu state=…/>`: the performance counters, a CPU feature.
    pub pmu: Option<bool>,
    /// `<pvspinlock state=…/>`: a CPU feature of KVM's (`kvm-pv-unhalt`).
    pub pvspinlock: Option<bool>,
    /// `<vmcoreinfo state='on'/>`: the guest tells QEMU how to dump it (QEMU's device `vmcoreinfo`).
    pub vmcoreinfo: bool,
    /// `<ps2 state=…/>`: the keyboard controller (QEMU's `-machine i8042=`).
    pub ps2: Option<bool>,
    /// `<hyperv>`: what Windows finds familiar.
    pub hyperv: Hyperv,
    /// `<kvm>`.
    pub kvm: KvmFeatures,
    /// `<tcg><tb-cache>`: how much translated code QEMU keeps (`-accel tcg,tb-size=`), whole MiB. The guest does not
    /// see it.
    pub tb_cache: Option<Bytes>,
}

words! {
    /// Who emulates the guest's interrupt controllers.
    pub enum IoApic {
        /// All of them KVM.
        Kvm = "kvm",
        /// The I/O APIC QEMU, the others KVM.
        Qemu = "qemu",
    }
}

/// `<hyperv>`: interfaces of Microsoft's hypervisor, QEMU's CPU features `hv-…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hyperv {
    /// `mode='passthrough'`: all that the host can do (`hv-passthrough`). QEMU does not migrate such a guest.
    pub passthrough: bool,
    /// Features with their state, in the order in which they are written, at most one of a name.
    pub features: Vec<(HypervFeature, bool)>,
    /// `<spinlocks state='on' retries=…/>`: tries before the guest tells that it waits (`hv-spinlocks`).
    pub spinlock_retries: Option<u32>,
    /// `<stimer><direct state='on'/>`: `hv-stimer-direct`.
    pub stimer_direct: bool,
    /// `<tlbflush><direct state='on'/>`: `hv-tlbflush-direct`.
    pub tlbflush_direct: bool,
    /// `<tlbflush><extended state='on'/>`: `hv-tlbflush-ext`.
    pub tlbflush_extended: bool,
    /// `<vendor_id state='on' value=…/>`: what the hypervisor calls itself (`hv-vendor-id`), at most 12 bytes.
    pub vendor_id: Option<String>,
}

words! {
    /// A feature of `<hyperv>` that is on or off and nothing more.
    pub enum HypervFeature {
        /// No watchdog in the guest for slow vCPUs.
        Relaxed = "relaxed",
        /// Paravirtual APIC registers.
        Vapic = "vapic",
        /// The index of a virtual processor.
        Vpindex = "vpindex",
        /// Time that a virtual processor ran.
        Runtime = "runtime",
        /// The synthetic interrupt controller.
        Synic = "synic",
        /// Synthetic timers.
        Stimer = "stimer",
        /// Reset by a register.
        Reset = "reset",
        /// Registers with the frequencies of TSC and APIC.
        Frequencies = "frequencies",
        /// Notice of a change of the TSC's frequency.
        Reenlightenment = "reenlightenment",
        /// Paravirtual flushes of the TLB.
        Tlbflush = "tlbflush",
        /// Paravirtual interrupts between processors.
        Ipi = "ipi",
        /// The enlightened VMCS, for guests with guests.
        Evmcs = "evmcs",
        /// Automatic end of interrupts with hardware APICs.
        Avic = "avic",
        /// The enlightened MSR bitmap, for guests with guests.
        EmsrBitmap = "emsr_bitmap",
        /// Hypercalls whose input is in XMM registers.
        XmmInput = "xmm_input",
    }
}

/// `<kvm>`: what a guest sees of KVM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvmFeatures {
    /// `<hidden state='on'/>`: the guest is not told that it runs under KVM (`kvm=off`).
    pub hidden: bool,
    /// `<hint-dedicated state='on'/>`: vCPUs have processors of their own (`kvm-hint-dedicated`).
    pub hint_dedicated: bool,
    /// `<poll-control state='on'/>`: the guest may stop the host from polling (`kvm-poll-control`).
    pub poll_control: bool,
    /// `<pv-ipi state='off'/>`: no paravirtual interrupts between processors (`kvm-pv-ipi=off`).
    pub pv_ipi_off: bool,
    /// `<dirty-ring state='on' size=…/>`: entries of the ring that notes changed pages (`-accel kvm,dirty-ring-size=`),
    /// a power of two. The guest does not see it.
    pub dirty_ring: Option<u32>,
}

/// Features of `<features>` that other machines have; an x86 guest has none of them.
const OTHER_MACHINES: &[&str] = &[
    "hap",
    "viridian",
    "privnet",
    "gic",
    "htm",
    "nested-hv",
    "ccf-assist",
    "cfpc",
    "sbbc",
    "ibs",
    "ras",
    "hpt",
    "msrs",
    "xen",
    "aia",
    "capabilities",
];

impl Features {
    /// Reads `<features>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Features {
        let Some(node) = reader.child(root, "features") else { return Features::default() };
        reader.attributes(node, &[]);
        for child in node.children().filter(Node::is_element) {
            known(reader, child);
        }
        let (smm, smm_tseg) = smm(reader, node);
        let apic = reader.child(node, "apic");
        Features {
            acpi: reader.present(node, "acpi"),
            apic: apic.is_some(),
            apic_eoi: apic.and_then(|apic| {
                reader.vocabulary(apic, &["eoi"], &[]);
                reader.flag(apic, "eoi", "on", "off")
            }),
            pae: reader.present(node, "pae"),
            vmport: switch(reader, node, "vmport"),
            smm,
            smm_tseg,
            ioapic: reader.child(node, "ioapic").and_then(|ioapic| {
                reader.vocabulary(ioapic, &["driver"], &[]);
                reader.required(ioapic, "driver", "write driver='kvm' or driver='qemu'")?;
                reader.word(ioapic, "driver")
            }),
            pmu: switch(reader, node, "pmu"),
            pvspinlock: switch(reader, node, "pvspinlock"),
            vmcoreinfo: switch(reader, node, "vmcoreinfo").unwrap_or(false),
            ps2: switch(reader, node, "ps2"),
            hyperv: hyperv(reader, node).unwrap_or_default(),
            kvm: kvm(reader, node).unwrap_or_default(),
            tb_cache: tb_cache(reader, node),
        }
    }
}

/// Refuses what nobody reads, and notes what only the host would see.
fn known<'a>(reader: &mut Reader<'a>, child: Node<'a>) {
    const READ: &[&str] = &[
        "acpi",
        "apic",
        "pae",
        "vmport",
        "smm",
        "ioapic",
        "pmu",
        "pvspinlock",
        "vmcoreinfo",
        "ps2",
        "hyperv",
        "kvm",
        "tcg",
    ];
    let name = child.tag_name().name();
    if is(child, "async-teardown") {
        reader.note(child, "kept in the definition and not applied", "nothing is to be done");
    } else if OTHER_MACHINES.iter().any(|other| is(child, other)) {
        let message = format!("<{name}> is for another kind of hypervisor or machine");
        reader.refuse(child, message, "remove it: an x86 guest of QEMU does not have it");
    } else if !READ.iter().any(|read| is(child, read)) {
        reader.unsupported(child);
    }
}

/// `<NAME state='on|off'/>`; without `state` it is on.
fn switch<'a>(reader: &mut Reader<'a>, node: Node<'a>, name: &str) -> Option<bool> {
    let child = reader.child(node, name)?;
    reader.vocabulary(child, &["state"], &[]);
    state(reader, child)
}

fn state<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<bool> {
    if node.has_attribute("state") { reader.flag(node, "state", "on", "off") } else { Some(true) }
}

fn smm<'a>(reader: &mut Reader<'a>, features: Node<'a>) -> (Option<bool>, Option<Bytes>) {
    let Some(node) = reader.child(features, "smm") else { return (None, None) };
    reader.vocabulary(node, &["state"], &["tseg"]);
    let tseg = reader.child(node, "tseg").and_then(|tseg| {
        reader.vocabulary(tseg, &["unit"], &[]);
        reader.whole_mib(tseg)
    });
    (state(reader, node), tseg)
}

fn tb_cache<'a>(reader: &mut Reader<'a>, features: Node<'a>) -> Option<Bytes> {
    let node = reader.child(features, "tcg")?;
    reader.vocabulary(node, &[], &["tb-cache"]);
    let cache = reader.child(node, "tb-cache")?;
    reader.vocabulary(cache, &["unit"], &[]);
    reader.whole_mib(cache)
}

fn hyperv<'a>(reader: &mut Reader<'a>, features: Node<'a>) -> Option<Hyperv> {
    let node = reader.child(features, "hyperv")?;
    reader.attributes(node, &["mode"]);
    reader.only(node, "mode", &["custom", "passthrough"], "write mode='custom' and the features");
    let mut hyperv =
        Hyperv { passthrough: node.attribute("mode") == Some("passthrough"), ..Hyperv::default() };
    if hyperv.passthrough {
        let mend = "write mode='custom' and the features, so that it can move while it runs";
        reader.note(node, "QEMU does not migrate a guest with all that the host's hypervisor offers", mend);
    }
    for child in node.children().filter(Node::is_element) {
        let name = child.tag_name().name();
        if node.children().find(|first| is(*first, name)) != Some(child) {
            reader.refuse(child, format!("a second <{name}> in <hyperv>"), "keep one of the two");
            continue;
        }
        match name {
            "spinlocks" => hyperv.spinlock_retries = spinlocks(reader, child),
            "vendor_id" => hyperv.vendor_id = vendor_id(reader, child),
            name => {
                let Some(feature) = HypervFeature::of(name) else {
                    reader.unsupported(child);
                    continue;
                };
                let on = hyperv_feature(reader, child, feature, &mut hyperv);
                hyperv.features.push((feature, on));
            }
        }
    }
    Some(hyperv)
}

fn hyperv_feature<'a>(
    reader: &mut Reader<'a>,
    node: Node<'a>,
    feature: HypervFeature,
    read: &mut Hyperv,
) -> bool {
    const WITH_CHILDREN: [(HypervFeature, &[&str]); 2] =
        [(HypervFeature::Stimer, &["direct"]), (HypervFeature::Tlbflush, &["direct", "extended"])];
    let children =
        WITH_CHILDREN.iter().find(|(with, _)| *with == feature).map_or(&[][..], |(_, children)| children);
    reader.vocabulary(node, &["state"], children);
    let on = state(reader, node).unwrap_or(false);
    let mut also = |name| on && switch(reader, node, name) == Some(true);
    if feature == HypervFeature::Stimer {
        read.stimer_direct = also("direct");
    }
    if feature == HypervFeature::Tlbflush {
        read.tlbflush_direct = also("direct");
        read.tlbflush_extended = also("extended");
    }
    on
}

impl HypervFeature {
    fn of(name: &str) -> Option<HypervFeature> {
        use crate::word::Word;
        Self::WORDS.iter().find(|(word, _)| *word == name).map(|(_, feature)| *feature)
    }
}

fn spinlocks<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<u32> {
    reader.vocabulary(node, &["state", "retries"], &[]);
    if state(reader, node) != Some(true) {
        return None;
    }
    reader.required(node, "retries", "write retries='8191'")?;
    reader.number(node, "retries", SPINLOCK_RETRIES_MIN..=u32::MAX)
}

fn vendor_id<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<String> {
    reader.vocabulary(node, &["state", "value"], &[]);
    if state(reader, node) != Some(true) {
        return None;
    }
    let value = reader.required(node, "value", "write `value`")?;
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b',' || byte == b' ';
    if value.len() > VENDOR_ID_BYTES_MAX || !value.bytes().all(plain) {
        let message = format!("`{value}` is not a vendor that a hypervisor can have");
        let mend = format!("write at most {VENDOR_ID_BYTES_MAX} ASCII characters, none of them a comma");
        reader.refuse_attribute(node, "value", message, mend);
    }
    Some(value.to_owned())
}

fn kvm<'a>(reader: &mut Reader<'a>, features: Node<'a>) -> Option<KvmFeatures> {
    let node = reader.child(features, "kvm")?;
    reader.vocabulary(node, &[], &["hidden", "hint-dedicated", "poll-control", "pv-ipi", "dirty-ring"]);
    let dirty_ring = reader.child(node, "dirty-ring").and_then(|ring| dirty_ring(reader, ring));
    Some(KvmFeatures {
        hidden: switch(reader, node, "hidden") == Some(true),
        hint_dedicated: switch(reader, node, "hint-dedicated") == Some(true),
        poll_control: switch(reader, node, "poll-control") == Some(true),
        pv_ipi_off: switch(reader, node, "pv-ipi") == Some(false),
        dirty_ring,
    })
}

fn dirty_ring<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<u32> {
    reader.vocabulary(node, &["state", "size"], &[]);
    if state(reader, node) != Some(true) {
        return None;
    }
    reader.required(node, "size", "write size='4096'")?;
    let size = reader.number(node, "size", 1024..=DIRTY_RING_ENTRIES_MAX)?;
    if !size.is_power_of_two() {
        reader.refuse_attribute(node, "size", format!("{size} is not a power of two"), "write size='4096'");
    }
    Some(size)
}
