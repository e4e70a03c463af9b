//! The host's end of a byte stream: [`CharacterBackend`]. It never opens one.

use std::path::{Path, PathBuf};

use crate::reader::{Node, Reader, is};
use crate::word::words;

/// The host's end of a byte stream (QEMU's chardev).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CharacterBackend {
    /// A fresh pseudo terminal.
    Pty,
    /// Nothing: what is written is gone.
    Null,
    /// A file that takes what the guest writes.
    File {
        /// An absolute path.
        path: PathBuf,
        /// Whether what is in it stays; else it is truncated at start.
        append: bool,
    },
    /// A device of the host.
    Device(PathBuf),
    /// A named pipe, or two of them with `.in` and `.out`.
    Pipe(PathBuf),
    /// A Unix socket.
    Unix {
        /// An absolute path; none: whoever starts the domain picks one (only with [`SocketMode::Bind`]).
        path: Option<PathBuf>,
        /// Whether QEMU listens or connects.
        mode: SocketMode,
    },
    /// A TCP connection.
    Tcp {
        /// Whether QEMU listens or connects.
        mode: SocketMode,
        /// Where.
        endpoint: Endpoint,
        /// Whether it speaks the telnet protocol.
        telnet: bool,
    },
    /// UDP packets.
    Udp {
        /// Where packets go.
        connect: Endpoint,
        /// Where packets come in; none leaves it to the kernel.
        bind: Option<Endpoint>,
    },
    /// Whoever looks at the screen through SPICE: its agent, or a USB device.
    SpiceVmc,
    /// A channel of SPICE by its name.
    SpicePort(String),
    /// QEMU's own SPICE agent, which works with VNC too.
    Vdagent {
        /// Whether the clipboard is shared.
        clipboard: bool,
        /// Whether the pointer goes through the agent; none leaves QEMU's default.
        mouse: Option<bool>,
    },
}

impl CharacterBackend {
    /// The file on the host that it opens or makes; none for a socket that the definition leaves open.
    pub fn path(&self) -> Option<&Path> {
        match self {
            CharacterBackend::File { path, append: _ }
            | CharacterBackend::Device(path)
            | CharacterBackend::Pipe(path)
            | CharacterBackend::Unix { path: Some(path), mode: _ } => Some(path),
            CharacterBackend::Pty
            | CharacterBackend::Null
            | CharacterBackend::Unix { path: None, mode: _ }
            | CharacterBackend::Tcp { .. }
            | CharacterBackend::Udp { .. }
            | CharacterBackend::SpiceVmc
            | CharacterBackend::SpicePort(_)
            | CharacterBackend::Vdagent { .. } => None,
        }
    }
}

/// What is said of the host's end besides what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CharacterOptions {
    /// `<log>`: a file that takes what the guest writes, besides.
    pub log: Option<CharacterLog>,
    /// `<reconnect>`: after how many seconds a connection that ended is tried again.
    pub reconnect_s: Option<u32>,
}

/// `<log>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharacterLog {
    /// `file`: an absolute path.
    pub path: PathBuf,
    /// `append`: whether what is in it stays; else it is truncated at start.
    pub append: bool,
}

words! {
    /// Which end of a socket QEMU is.
    pub enum SocketMode {
        /// QEMU listens and does not wait for a client.
        Bind = "bind",
        /// QEMU connects to a socket that is there.
        Connect = "connect",
    }
}

/// A TCP or UDP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Name or address; none leaves it to QEMU (`localhost` to send, any to listen).
    pub host: Option<String>,
    /// Port number.
    pub service: u16,
}

/// Reads the host's end of a device.
pub(crate) fn read<'a>(
    reader: &mut Reader<'a>,
    device: Node<'a>,
) -> Option<(CharacterBackend, CharacterOptions)> {
    let backend = backend(reader, device)?;
    let socket = matches!(
        backend,
        CharacterBackend::Unix { mode: SocketMode::Connect, .. }
            | CharacterBackend::Tcp { mode: SocketMode::Connect, .. }
    );
    let reconnect_s = device.children().find(|child| is(*child, "source")).and_then(|source| {
        let node = reader.child(source, "reconnect")?;
        reader.vocabulary(node, &["enabled", "timeout"], &[]);
        if !socket {
            let message = "only a connection that QEMU makes is made again";
            reader.refuse(node, message, "remove the <reconnect>");
        }
        let seconds = reader.number(node, "timeout", 0..=u32::MAX / 1000).unwrap_or(1);
        (reader.flag(node, "enabled", "yes", "no")?).then_some(seconds)
    });
    if let Some(protocol) = reader.child(device, "protocol") {
        reader.vocabulary(protocol, &["type"], &[]);
        reader.only(protocol, "type", &["raw", "telnet"], "write type='raw' or type='telnet'");
        if !matches!(backend, CharacterBackend::Tcp { .. }) {
            reader.refuse(protocol, "only TCP has a <protocol>", "remove it");
        }
    }
    let log = reader.child(device, "log").and_then(|node| {
        reader.vocabulary(node, &["file", "append"], &[]);
        let file = reader.required(node, "file", "write the path of the file as `file`")?;
        let append = reader.flag(node, "append", "on", "off").unwrap_or(false);
        Some(CharacterLog { path: reader.path(node, Some("file"), file)?, append })
    });
    Some((backend, CharacterOptions { log, reconnect_s }))
}

/// Where libvirt puts the sockets of channels that name none; it drops these paths when it reads a definition.
const MADE_UP_SOCKETS: &[&str] = &[
    "/run/libvirt/qemu/channel/",
    "/var/run/libvirt/qemu/channel/",
    "/var/lib/libvirt/qemu/channel/target/",
];

const TYPES: &str = "write one of `pty`, `null`, `file`, `dev`, `pipe`, `unix`, `tcp`, `udp`";

fn backend<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<CharacterBackend> {
    let channel = is(device, "channel");
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
        "null" => Some(CharacterBackend::Null),
        "dev" => path(reader, device).map(CharacterBackend::Device),
        "pipe" => path(reader, device).map(CharacterBackend::Pipe),
        "unix" => unix(reader, device, channel),
        "tcp" => tcp(reader, device),
        "udp" => udp(reader, device),
        "spicevmc" => Some(CharacterBackend::SpiceVmc),
        "spiceport" => {
            let source = reader.required_child(device, "source", "add <source channel='…'/>")?;
            reader.vocabulary(source, &["channel"], &[]);
            let name = reader.required(source, "channel", "write the name of the channel as `channel`")?;
            Some(CharacterBackend::SpicePort(name.to_owned()))
        }
        "qemu-vdagent" => Some(vdagent(reader, device)),
        other => {
            let message = match other {
                "stdio" | "vc" => format!("`{other}` needs a QEMU that somebody sits at"),
                "nmdm" => "`nmdm` is a device of FreeBSD".to_owned(),
                other => format!("`{other}` is not supported as `type` of <{}>", device.tag_name().name()),
            };
            reader.refuse_attribute(device, "type", message, TYPES);
            None
        }
    }
}

fn path<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<PathBuf> {
    let source = reader.required_child(device, "source", "add <source path='…'/>")?;
    reader.vocabulary(source, &["path"], &["seclabel"]);
    let path = reader.required(source, "path", "write its path as `path`")?;
    reader.path(source, Some("path"), path)
}

fn vdagent<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> CharacterBackend {
    let mut clipboard = None;
    let mut mouse = None;
    if let Some(source) = reader.child(device, "source") {
        reader.vocabulary(source, &[], &["clipboard", "mouse"]);
        clipboard = reader.child(source, "clipboard").and_then(|node| {
            reader.vocabulary(node, &["copypaste"], &[]);
            reader.flag(node, "copypaste", "yes", "no")
        });
        mouse = reader.child(source, "mouse").and_then(|node| {
            reader.vocabulary(node, &["mode"], &[]);
            reader.flag(node, "mode", "client", "server")
        });
    }
    CharacterBackend::Vdagent { clipboard: clipboard.unwrap_or(false), mouse }
}

fn tcp<'a>(reader: &mut Reader<'a>, device: Node<'a>) -> Option<CharacterBackend> {
    let mend = "add <source mode='bind' host='127.0.0.1' service='…'/>";
    let source = reader.required_child(device, "source", mend)?;
    reader.vocabulary(source, &["mode", "host", "service", "tls"], &["reconnect"]);
    reader.only(source, "tls", &["no"], "write tls='no': certificates for it are not supported");
    let mode = reader.word(source, "mode").unwrap_or(SocketMode::Connect);
    reader.required(source, "service", "write the port as `service`")?;
    let service = reader.number(source, "service", 1..=65535).and_then(|it| u16::try_from(it).ok())?;
    let host = source.attribute("host").filter(|host| !host.is_empty()).map(str::to_owned);
    let protocol = device.children().find(|child| is(*child, "protocol"));
    let telnet = protocol.is_some_and(|protocol| protocol.attribute("type") == Some("telnet"));
    Some(CharacterBackend::Tcp { mode, endpoint: Endpoint { host, service }, telnet })
}

fn unix<'a>(reader: &mut Reader<'a>, device: Node<'a>, channel: bool) -> Option<CharacterBackend> {
    let Some(source) = reader.child(device, "source") else {
        return Some(CharacterBackend::Unix { path: None, mode: SocketMode::Bind });
    };
    reader.vocabulary(source, &["mode", "path"], &["seclabel", "reconnect"]);
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
