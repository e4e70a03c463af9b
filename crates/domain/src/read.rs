//! From an XML tree to a [`Domain`], with the nodes that the parts were read from. It never changes the text, and never
//! looks at two devices at once; `check` does.

use uuid::Uuid;

use crate::character;
use crate::clock::Clock;
use crate::cpu::Cpu;
use crate::device::{Iommu, Memballoon, Panic, Rng, Vsock, Watchdog};
use crate::disk::Disk;
use crate::display::{Graphics, Video};
use crate::domain::{Action, Bytes, Domain, Kind, PowerManagement};
use crate::features::Features;
use crate::hostdev::Hostdev;
use crate::input::Input;
use crate::interface::Interface;
use crate::limits::{NAME_BYTES_MAX, VCPUS_MAX};
use crate::memory::{self, MemoryBacking};
use crate::os::Os;
use crate::reader::{Node, Reader, is, qname, text, whole};
use crate::sound::{Audio, Sound};
use crate::sysinfo::SystemInformation;
use crate::tpm::Tpm;
use crate::usb::{self, Hub, Redirdev};
use crate::{controller, iothread, reader};

/// Elements of `<domain>` that are read.
const READ: &[&str] = &[
    "name",
    "uuid",
    "title",
    "description",
    "memory",
    "currentMemory",
    "memoryBacking",
    "numatune",
    "vcpu",
    "cpu",
    "os",
    "sysinfo",
    "features",
    "clock",
    "on_poweroff",
    "on_reboot",
    "on_crash",
    "pm",
    "iothreads",
    "iothreadids",
    "devices",
];

/// Elements of `<domain>` that are kept and mean nothing to the guest, nor to how it runs.
const KEPT: &[&str] = &["metadata", "seclabel", "resource"];

/// Elements of `<domain>` that are kept, though what they ask of the host is not done.
const NOT_APPLIED: &[&str] = &["blkiotune", "cputune", "memtune", "on_lockfailure", "perf"];

/// A domain, and for each of its lists the elements in the same order.
pub(crate) struct Reading<'a> {
    pub(crate) domain: Domain,
    pub(crate) nodes: Nodes<'a>,
}

/// The elements that the parts of a [`Domain`] were read from.
pub(crate) struct Nodes<'a> {
    pub(crate) root: Node<'a>,
    pub(crate) os: Option<Node<'a>>,
    pub(crate) cpu: Option<Node<'a>>,
    pub(crate) devices: Option<Node<'a>>,
    pub(crate) disks: Vec<Node<'a>>,
    pub(crate) interfaces: Vec<Node<'a>>,
    pub(crate) serials: Vec<Node<'a>>,
    pub(crate) consoles: Vec<Node<'a>>,
    pub(crate) channels: Vec<Node<'a>>,
    pub(crate) videos: Vec<Node<'a>>,
    pub(crate) sounds: Vec<Node<'a>>,
    pub(crate) inputs: Vec<Node<'a>>,
    pub(crate) hubs: Vec<Node<'a>>,
    pub(crate) redirdevs: Vec<Node<'a>>,
    pub(crate) hostdevs: Vec<Node<'a>>,
    pub(crate) memballoon: Option<Node<'a>>,
    pub(crate) rngs: Vec<Node<'a>>,
    pub(crate) tpms: Vec<Node<'a>>,
    pub(crate) watchdogs: Vec<Node<'a>>,
    pub(crate) panics: Vec<Node<'a>>,
    pub(crate) vsocks: Vec<Node<'a>>,
    pub(crate) controllers: Vec<Node<'a>>,
}

/// Reads the whole tree. The domain means something only where the reader found no problem.
pub(crate) fn domain<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<Reading<'a>> {
    if !is(root, "domain") {
        let message = match root.tag_name().namespace() {
            Some(namespace) => {
                format!("the outermost element is <{}> of namespace `{namespace}`", qname(root))
            }
            None => format!("the outermost element is <{}>", qname(root)),
        };
        reader.refuse(root, message, "give a libvirt <domain>, which has no namespace");
        return None;
    }
    reader.attributes(root, &["type", "id"]);
    for child in root.children().filter(Node::is_element) {
        let name = if child.tag_name().namespace().is_some() { "" } else { child.tag_name().name() };
        if NOT_APPLIED.contains(&name) {
            reader.note(
                child,
                "kept in the definition and not applied",
                "set it on the host's side if it is needed",
            );
        } else if !READ.contains(&name) && !KEPT.contains(&name) {
            reader.unsupported(child);
        }
    }
    let mut reading = general(reader, root);
    if let Some(devices) = reader.required_child(root, "devices", "add <devices>") {
        reading.nodes.devices = Some(devices);
        read_devices(reader, devices, &mut reading);
    }
    Some(reading)
}

fn general<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Reading<'a> {
    reader.required(root, "type", "write type='kvm', or type='qemu' for a host without KVM");
    let (vcpus, vcpus_current) = vcpus(reader, root);
    let memory = memory(reader, root);
    let cpu_node = reader.child(root, "cpu");
    let os_node =
        reader.required_child(root, "os", "add <os><type arch='x86_64' machine='q35'>hvm</type></os>");
    let domain = Domain {
        kind: reader.word(root, "type").unwrap_or(Kind::Kvm),
        name: name(reader, root).unwrap_or_default(),
        uuid: uuid(reader, root),
        title: title(reader, root),
        description: reader.child_text(root, "description"),
        memory,
        current_memory: current_memory(reader, root, memory),
        memory_backing: MemoryBacking::read(reader, root),
        numa_cells: memory::cells(reader, root),
        vcpus,
        vcpus_current,
        cpu: cpu_node.map(|node| Cpu::read(reader, node)),
        os: Os::read(reader, os_node),
        system_information: SystemInformation::read(reader, root, os_node),
        features: Features::read(reader, root),
        clock: Clock::read(reader, root),
        on_poweroff: action(reader, root, "on_poweroff", &[Action::Destroy], Action::Destroy),
        on_reboot: action(reader, root, "on_reboot", &[Action::Restart, Action::Destroy], Action::Restart),
        on_crash: action(
            reader,
            root,
            "on_crash",
            &[Action::Destroy, Action::Restart, Action::Preserve],
            Action::Destroy,
        ),
        pm: power_management(reader, root),
        iothreads: iothread::read_all(reader, root),
        emulator: None,
        disks: Vec::new(),
        interfaces: Vec::new(),
        serials: Vec::new(),
        parallels: Vec::new(),
        consoles: Vec::new(),
        channels: Vec::new(),
        graphics: Vec::new(),
        videos: Vec::new(),
        sounds: Vec::new(),
        audio: None,
        inputs: Vec::new(),
        hubs: Vec::new(),
        redirdevs: Vec::new(),
        hostdevs: Vec::new(),
        memballoon: None,
        rngs: Vec::new(),
        watchdogs: Vec::new(),
        tpms: Vec::new(),
        panics: Vec::new(),
        vsocks: Vec::new(),
        iommus: Vec::new(),
        controllers: Vec::new(),
    };
    Reading { domain, nodes: nodes(root, os_node, cpu_node) }
}

/// Elements of no device yet.
fn nodes<'a>(root: Node<'a>, os: Option<Node<'a>>, cpu: Option<Node<'a>>) -> Nodes<'a> {
    Nodes {
        root,
        os,
        cpu,
        devices: None,
        disks: Vec::new(),
        interfaces: Vec::new(),
        serials: Vec::new(),
        consoles: Vec::new(),
        channels: Vec::new(),
        videos: Vec::new(),
        sounds: Vec::new(),
        inputs: Vec::new(),
        hubs: Vec::new(),
        redirdevs: Vec::new(),
        hostdevs: Vec::new(),
        memballoon: None,
        rngs: Vec::new(),
        tpms: Vec::new(),
        watchdogs: Vec::new(),
        panics: Vec::new(),
        vsocks: Vec::new(),
        controllers: Vec::new(),
    }
}

/// `<name>` of a domain or a pool, which becomes a file's name.
pub(crate) fn name<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<String> {
    let node = reader.required_child(root, "name", "add <name>")?;
    reader.vocabulary(node, &[], &[]);
    let name = text(node);
    let wrong = if name.trim().is_empty() {
        "the name is empty"
    } else if name.trim() != name {
        "the name begins or ends with white space"
    } else if name == "." || name == ".." || name.contains('/') {
        "the name cannot be a file name"
    } else if name.chars().any(char::is_control) {
        "the name holds a control character"
    } else if name.len() > NAME_BYTES_MAX {
        "the name is too long"
    } else {
        return Some(name);
    };
    let mend = format!("write letters, digits, `-`, `_`, `.` or spaces, at most {NAME_BYTES_MAX} bytes");
    reader.refuse(node, wrong, mend);
    None
}

/// `<uuid>` of a domain or a pool.
pub(crate) fn uuid<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<Uuid> {
    let text = reader.child_text(root, "uuid")?;
    let uuid = Uuid::try_parse(text.trim()).ok().filter(|uuid| !uuid.is_nil());
    if uuid.is_none() {
        let node = reader.child(root, "uuid")?;
        let message = format!("`{}` is not a UUID that can be given", text.trim());
        reader.refuse(node, message, "remove the <uuid>: a fresh one is made");
    }
    uuid
}

fn title<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Option<String> {
    let title = reader.child_text(root, "title")?;
    if title.contains('\n') {
        let node = reader.child(root, "title")?;
        reader.refuse(node, "the title has more than one line", "put long texts into <description>");
    }
    Some(title)
}

fn memory<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> Bytes {
    let node = reader.required_child(root, "memory", "add <memory unit='MiB'>2048</memory>");
    let Some(node) = node else { return Bytes(0) };
    reader.vocabulary(node, &["unit", "dumpCore"], &[]);
    match reader.amount(node) {
        Some(bytes) => Bytes(bytes.next_multiple_of(1 << 20)),
        None => Bytes(0),
    }
}

fn current_memory<'a>(reader: &mut Reader<'a>, root: Node<'a>, memory: Bytes) -> Bytes {
    let Some(node) = reader.child(root, "currentMemory") else { return memory };
    reader.vocabulary(node, &["unit"], &[]);
    let Some(bytes) = reader.amount(node) else { return memory };
    let current = Bytes(bytes.next_multiple_of(1 << 10));
    if current > memory && memory.0 > 0 {
        let message = format!("{current} is more than <memory>, which is {memory}");
        reader.refuse(node, message, "make it at most <memory>, or remove it");
    }
    current
}

fn vcpus<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> (u32, u32) {
    let Some(node) = reader.child(root, "vcpu") else { return (1, 1) };
    reader.vocabulary(node, &["placement", "cpuset", "current"], &[]);
    reader.only(node, "placement", &["static", "auto"], "write placement='static'");
    for (name, by_host) in
        [("cpuset", node.has_attribute("cpuset")), ("placement", node.attribute("placement") == Some("auto"))]
    {
        if by_host {
            let message = format!("`{name}` is kept in the definition and not applied");
            reader.note(node, &message, "pin the guest on the host's side if it is needed");
        }
    }
    let text = text(node);
    let vcpus = whole(&text).and_then(|it| u32::try_from(it).ok()).filter(|it| (1..=VCPUS_MAX).contains(it));
    let Some(vcpus) = vcpus else {
        let message = format!("`{}` is not a number of virtual CPUs", text.trim());
        reader.refuse(node, message, format!("write a whole number from 1 to {VCPUS_MAX}"));
        return (1, 1);
    };
    let current = reader.number(node, "current", 1..=vcpus).unwrap_or(vcpus);
    (vcpus, current)
}

fn action<'a>(
    reader: &mut Reader<'a>,
    root: Node<'a>,
    name: &str,
    known: &[Action],
    default: Action,
) -> Action {
    let Some(node) = reader.child(root, name) else { return default };
    reader.vocabulary(node, &[], &[]);
    let value = text(node);
    if let Some(action) = known.iter().find(|action| action.as_str() == value.trim()) {
        return *action;
    }
    let words: Vec<String> = known.iter().map(|action| format!("`{action}`")).collect();
    let message = format!("`{}` is not supported in <{name}>", value.trim());
    reader.refuse(node, message, format!("write {}, or remove <{name}>", words.join(" or ")));
    default
}

fn power_management<'a>(reader: &mut Reader<'a>, root: Node<'a>) -> PowerManagement {
    let Some(node) = reader.child(root, "pm") else { return PowerManagement::default() };
    reader.vocabulary(node, &[], &["suspend-to-mem", "suspend-to-disk"]);
    let mut enabled = |name| {
        let state = reader.child(node, name)?;
        reader.vocabulary(state, &["enabled"], &[]);
        reader.flag(state, "enabled", "yes", "no")
    };
    PowerManagement { suspend_to_mem: enabled("suspend-to-mem"), suspend_to_disk: enabled("suspend-to-disk") }
}

fn read_devices<'a>(reader: &mut Reader<'a>, devices: Node<'a>, reading: &mut Reading<'a>) {
    reader.attributes(devices, &[]);
    if let Some(node) = reader.child(devices, "emulator") {
        reader.vocabulary(node, &[], &[]);
        reading.domain.emulator = reader.path(node, None, text(node).trim());
    }
    for node in devices.children().filter(Node::is_element) {
        let name = if node.tag_name().namespace().is_some() { "" } else { node.tag_name().name() };
        read_device(reader, node, name, reading);
    }
    controller::read_all(reader, devices, reading);
    character::read_serials(reader, devices, reading);
}

fn read_device<'a>(reader: &mut Reader<'a>, node: Node<'a>, name: &str, reading: &mut Reading<'a>) {
    let Reading { domain, nodes } = reading;
    match name {
        // These are read beside this walk, since the order among them matters.
        "emulator" | "controller" | "serial" | "console" => {}
        "disk" => keep(&mut domain.disks, &mut nodes.disks, Disk::read(reader, node), node),
        "interface" => {
            keep(&mut domain.interfaces, &mut nodes.interfaces, Interface::read(reader, node), node)
        }
        "channel" => {
            keep(&mut domain.channels, &mut nodes.channels, character::Channel::read(reader, node), node);
        }
        "parallel" => {
            let parallel = character::Parallel::read(reader, node, domain.parallels.len());
            domain.parallels.extend(parallel);
        }
        "graphics" => domain.graphics.extend(Graphics::read(reader, node)),
        "video" => {
            let video = Video::read(reader, node, domain.videos.len());
            keep(&mut domain.videos, &mut nodes.videos, video, node);
        }
        "sound" => keep(&mut domain.sounds, &mut nodes.sounds, Sound::read(reader, node), node),
        "audio" => {
            single(reader, node, usize::from(domain.audio.is_some()));
            domain.audio = Audio::read(reader, node);
        }
        "input" => keep(&mut domain.inputs, &mut nodes.inputs, Input::read(reader, node), node),
        "hub" => keep(&mut domain.hubs, &mut nodes.hubs, Hub::read(reader, node), node),
        "redirdev" => {
            keep(&mut domain.redirdevs, &mut nodes.redirdevs, Redirdev::read(reader, node), node);
        }
        "redirfilter" => usb::read_redirfilter(reader, node),
        "hostdev" => keep(&mut domain.hostdevs, &mut nodes.hostdevs, Hostdev::read(reader, node), node),
        "memballoon" => {
            single(reader, node, usize::from(nodes.memballoon.is_some()));
            domain.memballoon = Memballoon::read(reader, node);
            nodes.memballoon = Some(node);
        }
        "rng" => keep(&mut domain.rngs, &mut nodes.rngs, Rng::read(reader, node), node),
        "tpm" => {
            single(reader, node, domain.tpms.len());
            keep(&mut domain.tpms, &mut nodes.tpms, Tpm::read(reader, node), node);
        }
        "watchdog" => keep(&mut domain.watchdogs, &mut nodes.watchdogs, Watchdog::read(reader, node), node),
        "panic" => keep(&mut domain.panics, &mut nodes.panics, Panic::read(reader, node), node),
        "vsock" => {
            single(reader, node, domain.vsocks.len());
            keep(&mut domain.vsocks, &mut nodes.vsocks, Vsock::read(reader, node), node);
        }
        "iommu" => {
            single(reader, node, domain.iommus.len());
            domain.iommus.extend(Iommu::read(reader, node));
        }
        _ => reader.unsupported(node),
    }
}

fn keep<'a, T>(values: &mut Vec<T>, nodes: &mut Vec<Node<'a>>, value: Option<T>, node: Node<'a>) {
    if let Some(value) = value {
        values.push(value);
        nodes.push(node);
    }
}

fn single<'a>(reader: &mut Reader<'a>, node: Node<'a>, before: usize) {
    if before > 0 {
        reader.refuse(node, format!("a second <{}>", reader::qname(node)), "keep one of them");
    }
}
