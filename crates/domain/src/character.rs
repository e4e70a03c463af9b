//! `<serial>`, `<console>`, `<channel>`: byte streams between the guest and the host. It never opens one.

use std::path::PathBuf;

use crate::address::VirtioSerialAddress;
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
