//! `<serial>`, `<console>`, `<channel>`: byte streams between the guest and the host. It never opens one.

use std::path::PathBuf;

use crate::address::VirtioSerialAddress;
use crate::limits::{CONTROLLER_INDEX_MAX, SERIALS_MAX};
use crate::read::Reading;
use crate::reader::{Node, Reader, is};
use crate::word::words;

/// An ISA serial port (QEMU's `isa-serial`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Which port, from 0: 0 is the guest's `ttyS0`. Equals its place in the list.
    pub port: u32,
    /// The host's end.
    pub backend: CharacterBackend,
}

/// A `<console>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// What the guest has for it.
    pub target: ConsoleTarget,
    /// The host's end; for [`ConsoleTarget::Serial`] a copy of the first serial port's.
    pub backend: CharacterBackend,
    /// `<address type='virtio-serial'>`, only for [`ConsoleTarget::Virtio`].
    pub address: Option<VirtioSerialAddress>,
}

words! {
    /// What a console is for the guest.
    pub enum ConsoleTarget {
        /// The first serial port by another name: no device of its own. Only the first console can be this.
        Serial = "serial",
        /// A virtio console (QEMU's `virtconsole`).
        Virtio = "virtio",
    }
}

/// A `<channel>` with a virtio port (QEMU's `virtserialport`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// `<target name=…>`: the guest finds the port by it, `org.qemu.guest_agent.0` for one.
    pub name: String,
    /// The host's end.
    pub backend: CharacterBackend,
    /// `<address type='virtio-serial'>`.
    pub address: Option<VirtioSerialAddress>,
}

/// The host's end of a byte stream (QEMU's chardev).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CharacterBackend {
    /// A fresh pseudo terminal.
    Pty,
    /// A file that takes what the guest writes.
    File {
        /// An absolute path.
        path: PathBuf,
        /// Whether what is in it stays; else it is truncated at start.
        append: bool,
    },
    /// A Unix socket.
    Unix {
        /// An absolute path; none: whoever starts the domain picks one (only with [`SocketMode::Bind`]).
        path: Option<PathBuf>,
        /// Whether QEMU listens or connects.
        mode: SocketMode,
    },
    /// UDP packets.
    Udp {
        /// Where packets go.
        connect: Endpoint,
        /// Where packets come in; none leaves it to the kernel.
        bind: Option<Endpoint>,
    },
}

words! {
    /// Which end of a Unix socket QEMU is.
    pub enum SocketMode {
        /// QEMU listens and does not wait for a client.
        Bind = "bind",
        /// QEMU connects to a socket that is there.
        Connect = "connect",
    }
}

/// A UDP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; none leaves it to QEMU (`localhost` to send, any to listen).
    pub host: Option<String>,
    /// Port number.
    pub service: u16,
}

/// Reads every `<serial>` and `<console>`. A first console of type serial is the first serial port by another name,
/// and stands for it where no `<serial>` is written, as in libvirt.
pub(crate) fn read_serials<'a>(reader: &mut Reader<'a>, devices: Node<'a>, reading: &mut Reading<'a>) {
    let mut serials: Vec<(Node<'a>, Option<u32>, CharacterBackend)> = Vec::new();
    for node in devices.children().filter(|child| is(*child, "serial")) {
        if let Some((port, backend)) = serial(reader, node) {
            serials.push((node, port, backend));
        }
    }
    let written = devices.children().any(|child| is(child, "serial"));
    for (place, node) in devices.children().filter(|child| is(*child, "console")).enumerate() {
        let Some(mut console) = console(reader, node) else { continue };
        if console.target == ConsoleTarget::Serial {
            if place > 0 {
                reader.refuse(node, "only the first <console> can be a serial port", "remove this one");
            } else if !written {
                serials.push((node, Some(0), console.backend.clone()));
            } else if let Some((_, _, backend)) = serials.first() {
                console.backend = backend.clone();
            }
        }
        reading.domain.consoles.push(console);
        reading.nodes.consoles.push(node);
    }
    number_serials(reader, serials, reading);
}

fn number_serials<'a>(
    reader: &mut Reader<'a>,
    serials: Vec<(Node<'a>, Option<u32>, CharacterBackend)>,
    reading: &mut Reading<'a>,
) {
    let mut taken: Vec<u32> = Vec::new();
    for (node, port, _) in &serials {
        if let Some(port) = port {
            if taken.contains(port) {
                reader.refuse(
                    *node,
                    format!("a second serial port {port}"),
                    "give every serial port its own number",
                );
            }
            taken.push(*port);
        }
    }
    let count = serials.len();
    for (node, port, backend) in serials {
        let port = port.or_else(|| (0..).find(|free| !taken.contains(free))).unwrap_or_default();
        taken.push(port);
        if usize::try_from(port).is_ok_and(|port| port >= count) {
            let message = format!("serial port {port}, but there are only {count}");
            reader.refuse(node, message, "number the serial ports from 0 without gaps");
        }
        reading.domain.serials.push(Serial { port, backend });
    }
    if count > SERIALS_MAX {
        let message = format!("{count} serial ports, and a PC has {SERIALS_MAX}");
        reader.refuse(reading.nodes.root, message, "remove some");
    }
    reading.domain.serials.sort_by_key(|serial| serial.port);
}

fn serial<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<(Option<u32>, CharacterBackend)> {
    reader.vocabulary(node, &["type"], &["source", "target", "alias"]);
    let mut port = None;
    if let Some(target) = reader.child(node, "target") {
        reader.vocabulary(target, &["type", "port"], &["model"]);
        reader.only(target, "type", &["isa-serial"], "write type='isa-serial'");
        if let Some(model) = reader.child(target, "model") {
            reader.vocabulary(model, &["name"], &[]);
            reader.only(model, "name", &["isa-serial"], "write name='isa-serial'");
        }
        port = reader.number(target, "port", 0..=99);
    }
    Some((port, backend(reader, node, false)?))
}

fn console<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Console> {
    reader.vocabulary(node, &["type", "tty"], &["source", "target", "alias", "address"]);
    let mut kind = ConsoleTarget::Serial;
    if let Some(target) = reader.child(node, "target") {
        reader.vocabulary(target, &["type", "port"], &[]);
        reader.number(target, "port", 0..=99);
        if target.has_attribute("type") {
            kind = reader.word(target, "type")?;
        }
    }
    let address = match kind {
        ConsoleTarget::Virtio => virtio_serial_address(reader, node),
        ConsoleTarget::Serial => {
            if let Some(address) = reader.child(node, "address") {
                reader.refuse(address, "a serial console has no address", "remove the <address>");
            }
            None
        }
    };
    Some(Console { target: kind, backend: backend(reader, node, false)?, address })
}

impl Channel {
    /// Reads `<channel>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Channel> {
        if node.attribute("type") == Some("spicevmc") {
            let message = "a channel for SPICE is not supported";
            reader.refuse_attribute(node, "type", message, "remove the <channel>");
            return None;
        }
        reader.vocabulary(node, &["type"], &["source", "target", "alias", "address"]);
        let mend = "add <target type='virtio' name='org.qemu.guest_agent.0'/>";
        let target = reader.required_child(node, "target", mend);
        let name = target.and_then(|target| {
            reader.vocabulary(target, &["type", "name", "state"], &[]);
            reader.required(target, "type", "write type='virtio'");
            reader.only(target, "type", &["virtio"], "write type='virtio'");
            reader.required(target, "name", "write `name`, like org.qemu.guest_agent.0")
        });
        let address = virtio_serial_address(reader, node);
        let backend = backend(reader, node, true)?;
        Some(Channel { name: name?.to_owned(), backend, address })
    }
}

fn virtio_serial_address<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<VirtioSerialAddress> {
    let node = reader.child(device, "address")?;
    reader.vocabulary(node, &["type", "controller", "bus", "port"], &[]);
    reader.only(node, "type", &["virtio-serial"], "remove the <address>: a port is assigned");
    reader.required(node, "port", "write `port`, or remove the <address>")?;
    let controller = reader.number(node, "controller", 0..=CONTROLLER_INDEX_MAX).unwrap_or(0);
    let bus = reader.number(node, "bus", 0..=0).unwrap_or(0);
    Some(VirtioSerialAddress { controller, bus, port: reader.number(node, "port", 0..=511)? })
}

/// Where libvirt puts the sockets of channels that name none; it drops these paths when it reads a definition.
const MADE_UP_SOCKETS: &[&str] = &[
    "/run/libvirt/qemu/channel/",
    "/var/run/libvirt/qemu/channel/",
    "/var/lib/libvirt/qemu/channel/target/",
];

fn backend<'a>(reader: &mut Reader<'a>, device: Node<'a>, channel: bool) -> Option<CharacterBackend> {
    match reader.required(device, "type", "write type='pty'")? {
        "pty" => {
            if let Some(source) = reader.child(device, "source") {
                // The terminal of a running domain; the next start takes another.
                reader.vocabulary(source, &["path"], &[]);
            }
            Some(CharacterBackend::Pty)
        }
        "file" => {
            let source = reader.required_child(device, "source", "add <source path='…'/>")?;
            reader.vocabulary(source, &["path", "append"], &["seclabel"]);
            let path = reader.required(source, "path", "write the path of the file as `path`")?;
            let append = reader.flag(source, "append", "on", "off").unwrap_or(false);
            Some(CharacterBackend::File { path: reader.path(source, Some("path"), path)?, append })
        }
        "unix" => unix(reader, device, channel),
        "udp" => udp(reader, device),
        other => {
            let message = format!("`{other}` is not supported as `type` of <{}>", device.tag_name().name());
            reader.refuse_attribute(device, "type", message, "write one of `pty`, `file`, `unix`, `udp`");
            None
        }
    }
}

fn unix<'a>(reader: &mut Reader<'a>, device: Node<'a>, channel: bool) -> Option<CharacterBackend> {
    let Some(source) = reader.child(device, "source") else {
        return Some(CharacterBackend::Unix { path: None, mode: SocketMode::Bind });
    };
    reader.vocabulary(source, &["mode", "path"], &["seclabel"]);
    let mode = reader.word(source, "mode").unwrap_or(SocketMode::Bind);
    let written = source.attribute("path").filter(|path| !path.is_empty());
    let made_up = |path: &&str| channel && MADE_UP_SOCKETS.iter().any(|prefix| path.starts_with(prefix));
    let path = match written.filter(|path| !made_up(path)) {
        Some(path) => Some(reader.path(source, Some("path"), path)?),
        None => None,
    };
    if mode == SocketMode::Connect && path.is_none() {
        reader.refuse(source, "a socket to connect to has no path", "write `path`");
    }
    Some(CharacterBackend::Unix { path, mode })
}

fn udp<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<CharacterBackend> {
    let mut connect = None;
    let mut bind = None;
    for source in device.children().filter(|child| is(*child, "source")) {
        reader.vocabulary(source, &["mode", "host", "service"], &[]);
        reader.required(source, "service", "write the port as `service`");
        let service = reader.number(source, "service", 1..=65535).and_then(|it| u16::try_from(it).ok());
        let host = source.attribute("host").filter(|host| !host.is_empty()).map(str::to_owned);
        let endpoint = service.map(|service| Endpoint { host, service });
        let place = match reader.required(source, "mode", "write mode='connect' or mode='bind'") {
            Some("connect") => &mut connect,
            Some("bind") => &mut bind,
            Some(_) => {
                let mend = "write mode='connect' or mode='bind'";
                reader.only(source, "mode", &["connect", "bind"], mend);
                continue;
            }
            None => continue,
        };
        if place.is_some() {
            reader.refuse(source, "a second <source> of this mode", "keep one of the two");
        }
        *place = Some(endpoint);
    }
    let Some(connect) = connect else {
        let mend = "add <source mode='connect' host='…' service='…'/>";
        reader.refuse(device, "UDP without a place to send to", mend);
        return None;
    };
    Some(CharacterBackend::Udp { connect: connect?, bind: bind.flatten() })
}
