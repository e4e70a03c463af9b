//! `<interface>`: a virtio network card behind a bridge. It never makes a tap.

use std::fmt;
use std::str::FromStr;

use crate::address::PciAddress;
use crate::reader::{Node, Reader};
use crate::word::words;

/// `<interface type='bridge'>` (QEMU's `virtio-net-pci` on a tap).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `<source bridge=…>`: a bridge on the host.
    pub bridge: String,
    /// `<mac address=…>`.
    pub mac: Option<MacAddress>,
    /// `<model type=…>`.
    pub model: InterfaceModel,
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
    /// `<address type='pci'>`.
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its network card.
    pub enum InterfaceModel {
        /// virtio-net on PCI.
        Virtio = "virtio",
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

impl Interface {
    /// Reads `<interface>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Interface> {
        reader.vocabulary(
            node,
            &["type", "trustGuestRxFilters"],
            &["mac", "source", "target", "model", "driver", "mtu", "boot", "link", "alias", "address"],
        );
        reader.required(node, "type", "write type='bridge'");
        let mend = "write type='bridge' and <source bridge='…'/>, a bridge of that name on every host";
        reader.only(node, "type", &["bridge"], mend);
        if node.attribute("type").is_some_and(|kind| kind != "bridge") {
            return None;
        }
        reader.only(node, "trustGuestRxFilters", &["no"], "remove the attribute");
        if let Some(driver) = reader.child(node, "driver") {
            // vhost or not is the host's matter: the guest sees the same card.
            reader.vocabulary(driver, &["name"], &[]);
            reader.only(driver, "name", &["vhost", "qemu"], "remove `name`");
        }
        let bridge = bridge(reader, node);
        let model = model(reader, node);
        Some(Interface {
            mac: mac(reader, node),
            target: tap(reader, node),
            mtu: mtu(reader, node),
            link_up: link_up(reader, node),
            id: id(reader, node),
            boot_order: reader.boot_order(node),
            address: reader.pci_address(node),
            bridge: bridge?,
            model: model?,
        })
    }
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
    let mend = "add <model type='virtio'/>; libvirt would take an emulated card, which is not supported";
    let node = reader.required_child(interface, "model", mend)?;
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
    reader.vocabulary(node, &["dev"], &[]);
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
