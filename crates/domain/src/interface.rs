//! `<interface>`: a network card and where its packets go. It never makes a tap and resolves no network.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::address::PciAddress;
use crate::limits::INTERFACE_QUEUES_MAX;
use crate::reader::{Node, Reader, is};
use crate::word::words;

/// `<interface>`: a card of the guest and where its packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Where packets go.
    pub source: InterfaceSource,
    /// `<mac address=…>`.
    pub mac: Option<MacAddress>,
    /// `<model type=…>`; libvirt's default is rtl8139.
    pub model: InterfaceModel,
    /// `<driver>`.
    pub driver: InterfaceDriver,
    /// `<target dev=…>`: the tap's name on the host. None also for `vnet0` and its like, which libvirt makes up anew
    /// at each start.
    pub target: Option<String>,
    /// `<mtu size=…>`, in bytes: QEMU's `host_mtu`, and the tap's.
    pub mtu: Option<u32>,
    /// `<link state=…>`: whether the guest sees a cable; up where not written.
    pub link_up: bool,
    /// `<alias name='interface-…'/>`: what follows the dash is how QEMU knows the card, instead of its place.
    pub id: Option<String>,
    /// `<boot order=…>`, from 1.
    pub boot_order: Option<u32>,
    /// `<rom>`.
    pub rom: Rom,
    /// `<acpi index=…>`: the number by which the guest's firmware names the card.
    pub acpi_index: Option<u32>,
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
}

/// Where the packets of an interface go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InterfaceSource {
    /// `<source bridge=…>`: a bridge on the host.
    Bridge(String),
    /// `<source network=…>`: a network of that name, which each host resolves to a bridge of its own.
    Network(String),
    /// `type='user'`: QEMU's own network stack (slirp). It needs nothing of the host.
    User {
        /// `<ip family='ipv4'>`: the network that the guest sees, `172.17.2.0/24`; none leaves QEMU's.
        ipv4: Option<String>,
        /// `<ip family='ipv6'>`.
        ipv6: Option<String>,
    },
}

impl InterfaceSource {
    /// Whether the packets go through a tap on a bridge.
    pub fn has_tap(&self) -> bool {
        match self {
            InterfaceSource::Bridge(_) | InterfaceSource::Network(_) => true,
            InterfaceSource::User { .. } => false,
        }
    }
}

impl fmt::Display for InterfaceSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InterfaceSource::Bridge(name) => write!(formatter, "bridge {name}"),
            InterfaceSource::Network(name) => write!(formatter, "network {name}"),
            InterfaceSource::User { .. } => formatter.write_str("user networking"),
        }
    }
}

/// `<driver>` of an interface; all but `name` is for virtio cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceDriver {
    /// `name`: whether the kernel's vhost-net moves the packets (`vhost`) or QEMU does (`qemu`); none leaves it to the
    /// host. The guest does not see it.
    pub vhost: Option<bool>,
    /// `queues`: pairs of queues; more than one makes QEMU's `mq`.
    pub queues: Option<u32>,
    /// `rx_queue_size`.
    pub rx_queue_size: Option<u32>,
    /// `tx_queue_size`.
    pub tx_queue_size: Option<u32>,
    /// Every other property that is written, by QEMU's name: `event_idx`, `packed`, the offloads `host_tso4` and so on.
    pub properties: Vec<(&'static str, bool)>,
}

/// `<rom>`: the boot ROM of a card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rom {
    /// `bar`: whether the guest sees it in its address space (QEMU's `rombar`).
    pub bar: Option<bool>,
    /// `file`: what is in it (QEMU's `romfile`).
    pub file: Option<PathBuf>,
    /// `enabled='no'`: there is none.
    pub disabled: bool,
}

words! {
    /// What the guest sees as its network card.
    pub enum InterfaceModel {
        /// virtio-net on PCI.
        Virtio = "virtio",
        /// virtio-net on conventional PCI, for guests that know only virtio 0.9 as well.
        VirtioTransitional = "virtio-transitional",
        /// virtio-net for guests that know virtio 1.
        VirtioNonTransitional = "virtio-non-transitional",
        /// Intel 82540EM.
        E1000 = "e1000",
        /// Intel 82544GC.
        E100082544gc = "e1000-82544gc",
        /// Intel 82545EM.
        E100082545em = "e1000-82545em",
        /// Intel 82574L, PCI Express.
        E1000e = "e1000e",
        /// Intel 82576, PCI Express.
        Igb = "igb",
        /// Realtek 8139, what a card without a model is in libvirt.
        Rtl8139 = "rtl8139",
        /// NE2000.
        Ne2kPci = "ne2k_pci",
        /// AMD PCnet.
        Pcnet = "pcnet",
        /// VMware's.
        Vmxnet3 = "vmxnet3",
    }
}

impl InterfaceModel {
    /// Whether it is one of virtio's.
    pub fn is_virtio(self) -> bool {
        match self {
            InterfaceModel::Virtio
            | InterfaceModel::VirtioTransitional
            | InterfaceModel::VirtioNonTransitional => true,
            InterfaceModel::E1000
            | InterfaceModel::E100082544gc
            | InterfaceModel::E100082545em
            | InterfaceModel::E1000e
            | InterfaceModel::Igb
            | InterfaceModel::Rtl8139
            | InterfaceModel::Ne2kPci
            | InterfaceModel::Pcnet
            | InterfaceModel::Vmxnet3 => false,
        }
    }

    /// Whether libvirt puts it on conventional PCI.
    pub(crate) fn is_conventional(self) -> bool {
        match self {
            InterfaceModel::VirtioTransitional
            | InterfaceModel::E1000
            | InterfaceModel::E100082544gc
            | InterfaceModel::E100082545em
            | InterfaceModel::Rtl8139
            | InterfaceModel::Vmxnet3 => true,
            // libvirt takes a model that it does not know for PCI Express.
            InterfaceModel::Ne2kPci
            | InterfaceModel::Pcnet
            | InterfaceModel::Virtio
            | InterfaceModel::VirtioNonTransitional
            | InterfaceModel::E1000e
            | InterfaceModel::Igb => false,
        }
    }
}

/// An Ethernet address. Its text is six bytes in lower-case hexadecimal with colons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// Whether it names a group, which no card may have as its own address.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// A text that is not a MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a MAC address: six bytes in hexadecimal with colons, like 52:54:00:12:34:56")]
pub struct MacAddressError {
    /// What was given.
    pub text: String,
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<MacAddress, MacAddressError> {
        let error = || MacAddressError { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(error)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() {
            return Err(error());
        }
        Ok(MacAddress(bytes))
    }
}

/// What an interface may hold that stays on the host, and is not done there.
const NOT_APPLIED: &[(&str, &str)] = &[
    ("bandwidth", "shape the traffic on the bridge of every host"),
    ("filterref", "filter on the bridge of every host"),
    ("coalesce", "set it with ethtool on the host"),
    ("tune", "leave it to QEMU"),
    ("port", "isolate the port on the bridge of every host"),
];

impl Interface {
    /// Reads `<interface>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Interface> {
        let kind = reader.required(node, "type", "write type='bridge'")?;
        if let Some((message, mend)) = refused(kind) {
            reader.refuse_attribute(node, "type", message, mend);
            return None;
        }
        let mut children = vec![
            "mac", "source", "target", "model", "driver", "mtu", "boot", "link", "rom", "acpi", "alias",
            "address",
        ];
        children.extend(NOT_APPLIED.iter().map(|(name, _)| *name));
        if kind == "user" {
            children.extend(["ip", "backend"]);
        }
        reader.vocabulary(node, &["type", "trustGuestRxFilters"], &children);
        for (name, mend) in NOT_APPLIED {
            if let Some(child) = node.children().find(|child| is(*child, name)) {
                reader.note(child, "kept in the definition and not applied", mend);
            }
        }
        reader.only(node, "trustGuestRxFilters", &["no"], "remove the attribute");
        let source = source(reader, node, kind);
        let model = model(reader, node);
        let driver = driver(reader, node);
        if let Some(model) = model
            && !model.is_virtio()
            && (InterfaceDriver { vhost: None, ..driver.clone() }) != InterfaceDriver::default()
            && let Some(driver) = reader.child(node, "driver")
        {
            let message = format!("a card of model `{model}` has no such options");
            reader.refuse(driver, message, "remove all but `name`, or write <model type='virtio'/>");
        }
        Some(Interface {
            mac: mac(reader, node),
            target: tap(reader, node),
            mtu: mtu(reader, node),
            link_up: link_up(reader, node),
            id: id(reader, node),
            boot_order: reader.boot_order(node),
            rom: Rom::read(reader, node),
            acpi_index: acpi_index(reader, node),
            address: reader.pci_address(node),
            driver,
            source: source?,
            model: model?,
        })
    }
}

/// Why an interface of this type cannot be, and what to do.
fn refused(kind: &str) -> Option<(String, &'static str)> {
    let because = |reason: &str| format!("an interface of type `{kind}` is not supported: {reason}");
    let mend = "write type='bridge' and <source bridge='…'/>, a bridge of that name on every host";
    let reason = match kind {
        "bridge" | "network" | "user" => return None,
        "direct" => {
            "macvtap is tied to a card of this host, and its port cannot be kept muted while a guest moves"
        }
        "ethernet" => "its tap is made by a script of this host",
        "hostdev" => "a card of the host cannot move with the guest",
        "vhostuser" => "its other end is a program of this host, whose state does not move",
        "vdpa" => "its other end is a card of this host",
        _ => return Some((format!("`{kind}` is not supported as `type` of <interface>"), mend)),
    };
    Some((because(reason), mend))
}

fn source<'a>(reader: &mut Reader<'a>, interface: Node<'a>, kind: &str) -> Option<InterfaceSource> {
    match kind {
        "bridge" => bridge(reader, interface).map(InterfaceSource::Bridge),
        "network" => {
            let mend = "add <source network='…'/>";
            let node = reader.required_child(interface, "source", mend)?;
            // The port and the bridge are of a running domain.
            reader.vocabulary(node, &["network", "portgroup", "portid", "bridge"], &[]);
            if node.has_attribute("portgroup") {
                let mend = "name the network whose bridge the guest shall be on";
                reader.note(node, "`portgroup` is kept in the definition and not applied", mend);
            }
            let name = reader.required(node, "network", mend)?;
            if name.contains(['/', '\n']) || name.starts_with('.') {
                reader.refuse_attribute(
                    node,
                    "network",
                    format!("`{name}` is not a name of a network"),
                    mend,
                );
                return None;
            }
            Some(InterfaceSource::Network(name.to_owned()))
        }
        _ => {
            if let Some(backend) = reader.child(interface, "backend") {
                reader.vocabulary(backend, &["type"], &[]);
                reader.only(
                    backend,
                    "type",
                    &["default"],
                    "remove the <backend>: only QEMU's own is supported",
                );
            }
            let mut networks = [None, None];
            for ip in interface.children().filter(|child| is(*child, "ip")) {
                reader.vocabulary(ip, &["family", "address", "prefix"], &[]);
                let family = usize::from(ip.attribute("family") == Some("ipv6"));
                networks[family] = user_network(reader, ip, family == 1);
            }
            let [ipv4, ipv6] = networks;
            Some(InterfaceSource::User { ipv4, ipv6 })
        }
    }
}

fn user_network<'a>(reader: &mut Reader<'a>, node: Node<'a>, ipv6: bool) -> Option<String> {
    let text = reader.required(node, "address", "write `address`")?;
    let (address, longest) = match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.is_ipv6() == ipv6 => (address, if ipv6 { 128 } else { 32 }),
        Ok(_) | Err(_) => {
            let message = format!("`{text}` is not an address of this family");
            reader.refuse_attribute(node, "address", message, "write the address of a network");
            return None;
        }
    };
    match reader.number(node, "prefix", 1..=longest) {
        Some(prefix) => Some(format!("{address}/{prefix}")),
        None => Some(address.to_string()),
    }
}

/// Properties of virtio-net by element (`driver` itself where empty) and attribute, with QEMU's name.
const PROPERTIES: &[(&str, &str, &str)] = &[
    ("", "ioeventfd", "ioeventfd"),
    ("", "event_idx", "event_idx"),
    ("", "iommu", "iommu_platform"),
    ("", "ats", "ats"),
    ("", "packed", "packed"),
    ("", "page_per_vq", "page-per-vq"),
    ("host", "csum", "csum"),
    ("host", "gso", "gso"),
    ("host", "tso4", "host_tso4"),
    ("host", "tso6", "host_tso6"),
    ("host", "ecn", "host_ecn"),
    ("host", "ufo", "host_ufo"),
    ("host", "mrg_rxbuf", "mrg_rxbuf"),
    ("guest", "csum", "guest_csum"),
    ("guest", "tso4", "guest_tso4"),
    ("guest", "tso6", "guest_tso6"),
    ("guest", "ecn", "guest_ecn"),
    ("guest", "ufo", "guest_ufo"),
];

fn driver<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> InterfaceDriver {
    let Some(node) = reader.child(interface, "driver") else { return InterfaceDriver::default() };
    let named = |element: &str| {
        let of =
            move |(it, attribute, _): &(&str, &'static str, &str)| (*it == element).then_some(*attribute);
        PROPERTIES.iter().filter_map(of).collect::<Vec<_>>()
    };
    let mut attributes = named("");
    attributes.extend(["name", "queues", "rx_queue_size", "tx_queue_size", "txmode"]);
    reader.vocabulary(node, &attributes, &["host", "guest"]);
    reader.only(node, "txmode", &["iothread"], "remove `txmode`");
    let mut driver = InterfaceDriver {
        vhost: reader.flag(node, "name", "vhost", "qemu"),
        queues: reader.number(node, "queues", 1..=INTERFACE_QUEUES_MAX),
        rx_queue_size: queue_size(reader, node, "rx_queue_size"),
        tx_queue_size: queue_size(reader, node, "tx_queue_size"),
        properties: Vec::new(),
    };
    for element in ["", "host", "guest"] {
        let place = if element.is_empty() { Some(node) } else { reader.child(node, element) };
        let Some(place) = place else { continue };
        if !element.is_empty() {
            reader.vocabulary(place, &named(element), &[]);
        }
        for (_, attribute, property) in PROPERTIES.iter().filter(|(it, _, _)| *it == element) {
            let on = reader.flag(place, attribute, "on", "off");
            driver.properties.extend(on.map(|on| (*property, on)));
        }
    }
    driver
}

fn queue_size<'a>(reader: &mut Reader<'a>, driver: Node<'a>, name: &str) -> Option<u32> {
    let size = reader.number(driver, name, 64..=1024)?;
    if !size.is_power_of_two() {
        let message = format!("{size} is not a power of two");
        reader.refuse_attribute(driver, name, message, "write 256, 512 or 1024");
    }
    Some(size)
}

impl Rom {
    /// Reads a device's `<rom>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Rom {
        let Some(node) = reader.child(device, "rom") else { return Rom::default() };
        reader.vocabulary(node, &["bar", "file", "enabled"], &[]);
        let file = node.attribute("file").filter(|file| !file.is_empty());
        Rom {
            bar: reader.flag(node, "bar", "on", "off"),
            file: file.and_then(|file| reader.path(node, Some("file"), file)),
            disabled: reader.flag(node, "enabled", "yes", "no") == Some(false),
        }
    }
}

fn acpi_index<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<u32> {
    let node = reader.child(interface, "acpi")?;
    reader.vocabulary(node, &["index"], &[]);
    reader.number(node, "index", 1..=16383)
}

/// How the `<alias>` of an interface begins that says its id; libvirt's own are passed over.
pub(crate) const INTERFACE_ALIAS: &str = "interface-";

fn id<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<String> {
    let name = reader.child(interface, "alias")?.attribute("name")?;
    let id = name.strip_prefix(INTERFACE_ALIAS)?;
    let plain = !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| id.to_owned())
}

fn bridge<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<String> {
    let node = reader.required_child(interface, "source", "add <source bridge='…'/>")?;
    reader.vocabulary(node, &["bridge"], &[]);
    let bridge = reader.required(node, "bridge", "write the name of the bridge as `bridge`")?;
    link_name(reader, node, "bridge", bridge)
}

fn model<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<InterfaceModel> {
    let Some(node) = reader.child(interface, "model") else { return Some(InterfaceModel::Rtl8139) };
    reader.vocabulary(node, &["type"], &[]);
    reader.required(node, "type", "write type='virtio'")?;
    reader.word(node, "type")
}

fn mac<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<MacAddress> {
    let node = reader.child(interface, "mac")?;
    reader.vocabulary(node, &["address"], &[]);
    let text = reader.required(node, "address", "remove the <mac>: a fresh one is made")?;
    match text.parse::<MacAddress>() {
        Ok(mac) if mac.is_multicast() => {
            let message = format!("{mac} is a multicast address");
            reader.refuse_attribute(node, "address", message, "make the first byte even, 52 for one");
            None
        }
        Ok(mac) => Some(mac),
        Err(error) => {
            reader.refuse_attribute(
                node,
                "address",
                error.to_string(),
                "remove the <mac>: a fresh one is made",
            );
            None
        }
    }
}

/// The tap's name, except one that libvirt made up when the domain ran.
fn tap<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<String> {
    let node = reader.child(interface, "target")?;
    reader.vocabulary(node, &["dev", "managed"], &[]);
    let dev = reader.required(node, "dev", "remove the <target>: a name is made up")?;
    let made_up = dev
        .strip_prefix("vnet")
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    if made_up { None } else { link_name(reader, node, "dev", dev) }
}

/// What the kernel takes as the name of a network device (`dev_valid_name`).
fn link_name<'a>(reader: &mut Reader<'a>, node: Node<'a>, attribute: &str, name: &str) -> Option<String> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:,=".contains(c);
    if name.len() > 15 || name == "." || name == ".." || name.contains('%') || name.contains(bad) {
        let message = format!("`{name}` is not a name that a network device can have");
        let mend = "write at most 15 letters, digits, `-`, `_` or `.`";
        reader.refuse_attribute(node, attribute, message, mend);
        return None;
    }
    Some(name.to_owned())
}

fn mtu<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> Option<u32> {
    let node = reader.child(interface, "mtu")?;
    reader.vocabulary(node, &["size"], &[]);
    reader.required(node, "size", "write `size`, in bytes")?;
    reader.number(node, "size", 68..=65535)
}

fn link_up<'a>(reader: &mut Reader<'a>, interface: Node<'a>) -> bool {
    let Some(node) = reader.child(interface, "link") else { return true };
    reader.vocabulary(node, &["state"], &[]);
    reader.flag(node, "state", "up", "down").unwrap_or(true)
}
