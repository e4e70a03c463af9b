//! `<cpu>`: the processor the guest sees. It never knows what a model holds; QEMU does.

use crate::limits::{ADDRESS_BITS, VCPUS_MAX};
use crate::reader::{Node, Reader, is, text};
use crate::word::words;

/// `<cpu>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Which model.
    pub mode: CpuMode,
    /// `check`: how libvirt compares with what QEMU really gives the guest; none where not written.
    pub check: Option<CpuCheck>,
    /// `<vendor>`: the host's processor must be of this vendor (`Intel`, `AMD`). The guest does not see it.
    pub vendor: Option<String>,
    /// `<feature>` elements in order, at most one of a name: additions to and exceptions from the model.
    pub features: Vec<CpuFeature>,
    /// `<topology>`; the product equals the domain's `vcpus`.
    pub topology: Option<Topology>,
    /// `<cache mode=…>`: what the guest sees of the processor's caches; none leaves QEMU's default.
    pub cache: Option<CacheMode>,
    /// `<maxphysaddr>`: how wide physical addresses are; none leaves QEMU's default.
    pub address_bits: Option<AddressBits>,
}

/// Where the processor's model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpuMode {
    /// No model given: QEMU's `qemu64`.
    Default,
    /// `mode='custom'` with `<model>`: a model by name, the same on every host.
    Custom {
        /// QEMU's name, as `query-cpu-definitions` has it.
        model: String,
    },
    /// `mode='host-model'`: the nearest model to the host's processor; becomes `Custom` when the domain starts,
    /// with [`with_cpu_model`](crate::Definition::with_cpu_model).
    HostModel,
    /// `mode='host-passthrough'`: the host's own processor (`-cpu host`).
    HostPassthrough {
        /// `migratable`: whether features that cannot be migrated are left out; none leaves QEMU's default (`on`).
        migratable: Option<bool>,
    },
    /// `mode='maximum'`: all that the accelerator can do (`-cpu max`).
    Maximum {
        /// As in `HostPassthrough`.
        migratable: Option<bool>,
    },
}

words! {
    /// What the guest sees of the processor's caches.
    pub enum CacheMode {
        /// Made-up ones, level 3 among them (`l3-cache=on`).
        Emulate = "emulate",
        /// The host's (`host-cache-info=on`); only with mode='host-passthrough' or 'maximum'.
        Passthrough = "passthrough",
        /// No level 3 (`l3-cache=off`).
        Disable = "disable",
    }
}

/// `<maxphysaddr>`: how many bits a physical address has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressBits {
    /// `mode='emulate' bits=…` (`phys-bits`).
    Emulate(u8),
    /// `mode='passthrough'`: the host's (`host-phys-bits=on`).
    Passthrough {
        /// `limit`: at most so many (`host-phys-bits-limit`).
        limit: Option<u8>,
    },
}

words! {
    /// How carefully libvirt checks that the guest gets what the definition says.
    pub enum CpuCheck {
        /// Not at all.
        None = "none",
        /// Before the start, against the host.
        Partial = "partial",
        /// After the start, against QEMU.
        Full = "full",
    }
}

/// One `<feature>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuFeature {
    /// QEMU's or libvirt's name.
    pub name: String,
    /// What the guest gets.
    pub policy: FeaturePolicy,
}

words! {
    /// What becomes of a CPU feature.
    pub enum FeaturePolicy {
        /// On, whether the host has it or not.
        Force = "force",
        /// On; a host without it cannot run the domain. The default.
        Require = "require",
        /// Off.
        Disable = "disable",
        /// Off; libvirt also refuses a host that has it.
        Forbid = "forbid",
    }
}

impl FeaturePolicy {
    /// Whether the guest sees the feature.
    pub fn enabled(self) -> bool {
        match self {
            FeaturePolicy::Force | FeaturePolicy::Require => true,
            FeaturePolicy::Disable | FeaturePolicy::Forbid => false,
        }
    }
}

/// `<topology>`: QEMU's `-smp sockets=,dies=,clusters=,cores=,threads=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topology {
    /// Sockets in the machine.
    pub sockets: u32,
    /// Dies in a socket.
    pub dies: u32,
    /// Clusters in a die; always 1, x86 machines have no clusters.
    pub clusters: u32,
    /// Cores in a cluster.
    pub cores: u32,
    /// Threads in a core.
    pub threads: u32,
}

/// A host-model spelled out: what [`with_cpu_model`](crate::Definition::with_cpu_model) writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// QEMU's name of the model.
    pub model: String,
    /// Every feature that differs from the model.
    pub features: Vec<CpuFeature>,
}

impl Cpu {
    /// Reads `<cpu>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Cpu {
        reader.vocabulary(
            node,
            &["mode", "match", "check", "migratable"],
            &["model", "vendor", "feature", "topology", "cache", "maxphysaddr", "numa"],
        );
        let mend = "write match='exact', so that every host gives the guest the same processor";
        reader.only(node, "match", &["exact"], mend);
        let vendor = reader.child_text(node, "vendor").map(|vendor| vendor.trim().to_owned());
        Cpu {
            mode: mode(reader, node),
            check: reader.word(node, "check"),
            vendor,
            features: features(reader, node),
            topology: topology(reader, node),
            cache: cache(reader, node),
            address_bits: address_bits(reader, node),
        }
    }
}

fn mode<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> CpuMode {
    let mode = node.attribute("mode").unwrap_or("custom");
    if !["host-passthrough", "maximum"].contains(&mode) && node.has_attribute("migratable") {
        let message = "`migratable` is only for mode='host-passthrough' and mode='maximum'";
        reader.refuse_attribute(node, "migratable", message, "remove `migratable`");
    }
    let model = model(reader, node);
    match mode {
        "custom" => match model {
            Some(model) => CpuMode::Custom { model },
            None => CpuMode::Default,
        },
        "host-model" => CpuMode::HostModel,
        "host-passthrough" => {
            CpuMode::HostPassthrough { migratable: reader.flag(node, "migratable", "on", "off") }
        }
        "maximum" => CpuMode::Maximum { migratable: reader.flag(node, "migratable", "on", "off") },
        other => {
            let message = format!("`{other}` is not supported as `mode` of <cpu>");
            reader.refuse_attribute(
                node,
                "mode",
                message,
                "write `custom`, `host-model`, `host-passthrough` or `maximum`",
            );
            CpuMode::Default
        }
    }
}

fn model<'a>(reader: &mut Reader<'a>, cpu: Node<'a>) -> Option<String> {
    let node = reader.child(cpu, "model")?;
    // `fallback` tells libvirt what to do on a host that lacks the model; here nothing ever takes another model.
    reader.vocabulary(node, &["fallback", "vendor_id"], &[]);
    if node.has_attribute("vendor_id") {
        let message = "`vendor_id` gives the guest a processor of a vendor who never made it";
        reader.refuse_attribute(node, "vendor_id", message, "remove it: the model has its own vendor");
    }
    reader.only(node, "fallback", &["allow", "forbid"], "write `allow` or `forbid`, or remove it");
    let model = text(node).trim().to_owned();
    if model.is_empty() {
        // libvirt writes an empty <model fallback='allow'/> beside host-model.
        if cpu.attribute("mode").is_none_or(|mode| mode == "custom") {
            reader.refuse(node, "the CPU model is empty", "name a model, or remove the <model>");
        }
        return None;
    }
    if !is_cpu_word(&model) {
        reader.refuse(
            node,
            format!("`{model}` is not a name of a CPU model"),
            "write QEMU's name of the model",
        );
        return None;
    }
    Some(model)
}

/// Names of models and features go into QEMU's `-cpu`, where other characters have a meaning.
fn is_cpu_word(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn features<'a>(reader: &mut Reader<'a>, cpu: Node<'a>) -> Vec<CpuFeature> {
    let mut features: Vec<CpuFeature> = Vec::new();
    for node in cpu.children().filter(|child| is(*child, "feature")) {
        reader.vocabulary(node, &["policy", "name"], &[]);
        let Some(name) = reader.required(node, "name", "write `name`") else { continue };
        if !is_cpu_word(name) {
            let message = format!("`{name}` is not a name of a CPU feature");
            reader.refuse_attribute(node, "name", message, "write QEMU's name of the feature");
        }
        if features.iter().any(|feature| feature.name == name) {
            reader.refuse(node, format!("a second <feature> `{name}`"), "keep one of the two");
        }
        let policy = if node.attribute("policy") == Some("optional") {
            let message = "policy `optional` lets the host decide what the guest sees";
            reader.refuse_attribute(node, "policy", message, "write `require` or `disable`");
            FeaturePolicy::Require
        } else {
            reader.word(node, "policy").unwrap_or(FeaturePolicy::Require)
        };
        features.push(CpuFeature { name: name.to_owned(), policy });
    }
    features
}

fn cache<'a>(reader: &mut Reader<'a>, cpu: Node<'a>) -> Option<CacheMode> {
    let node = reader.child(cpu, "cache")?;
    reader.vocabulary(node, &["level", "mode"], &[]);
    reader.required(node, "mode", "write mode='emulate' or mode='passthrough'")?;
    let mode = reader.word(node, "mode")?;
    let level = reader.number(node, "level", 1..=3);
    let fits = match mode {
        CacheMode::Emulate => level.is_none_or(|level| level == 3),
        CacheMode::Passthrough => level.is_none(),
        CacheMode::Disable => level.is_none_or(|level| level == 3),
    };
    if !fits {
        let message = format!("QEMU has no cache mode `{mode}` for level {}", level.unwrap_or(0));
        reader.refuse_attribute(node, "level", message, "remove `level`");
    }
    let own = matches!(cpu.attribute("mode"), Some("host-passthrough" | "maximum"));
    if mode == CacheMode::Passthrough && !own {
        let message = "the host's caches beside a processor that is not the host's";
        reader.refuse_attribute(node, "mode", message, "write mode='emulate', or remove the <cache>");
    }
    Some(mode)
}

fn address_bits<'a>(reader: &mut Reader<'a>, cpu: Node<'a>) -> Option<AddressBits> {
    let node = reader.child(cpu, "maxphysaddr")?;
    let bits = |reader: &mut Reader<'a>, name| reader.byte(node, name, ADDRESS_BITS);
    match reader.required(node, "mode", "write mode='emulate' and `bits`, or mode='passthrough'")? {
        "emulate" => {
            reader.vocabulary(node, &["mode", "bits"], &[]);
            reader.required(node, "bits", "write `bits`")?;
            Some(AddressBits::Emulate(bits(reader, "bits")?))
        }
        "passthrough" => {
            reader.vocabulary(node, &["mode", "limit"], &[]);
            Some(AddressBits::Passthrough { limit: bits(reader, "limit") })
        }
        _ => {
            reader.only(node, "mode", &["emulate", "passthrough"], "write `emulate` or `passthrough`");
            None
        }
    }
}

fn topology<'a>(reader: &mut Reader<'a>, cpu: Node<'a>) -> Option<Topology> {
    let node = reader.child(cpu, "topology")?;
    reader.vocabulary(node, &["sockets", "dies", "clusters", "cores", "threads"], &[]);
    for name in ["sockets", "cores", "threads"] {
        reader.required(node, name, "write `sockets`, `cores` and `threads`");
    }
    let sockets = reader.number(node, "sockets", 1..=VCPUS_MAX);
    let dies = reader.number(node, "dies", 1..=VCPUS_MAX).unwrap_or(1);
    let clusters = reader.number(node, "clusters", 1..=1).unwrap_or(1);
    let cores = reader.number(node, "cores", 1..=VCPUS_MAX);
    let threads = reader.number(node, "threads", 1..=VCPUS_MAX);
    Some(Topology { sockets: sockets?, dies, clusters, cores: cores?, threads: threads? })
}
