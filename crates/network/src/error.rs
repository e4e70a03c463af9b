//! What can go wrong on a link. It never carries rtnetlink's own error type outward: a kernel's refusal is
//! an `io::Error` with its errno. The main type is [`NetworkError`].

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use crate::port::PortState;

/// Why an operation on a link failed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The kernel gave no netlink socket.
    #[error(
        "cannot open a netlink socket: is this process allowed to (CAP_NET_ADMIN), and has it file descriptors left?"
    )]
    Connect {
        /// The kernel's answer.
        source: io::Error,
    },

    /// The name cannot be that of a link, whatever links exist.
    #[error("{name:?} cannot name a network interface: use 1 to 15 bytes without '/', ':' and white space")]
    BadName {
        /// The name as it was given.
        name: String,
    },

    /// No link has this name in this network namespace.
    #[error("there is no network interface {name:?} on this host: `ip link` lists those that exist")]
    NoSuchLink {
        /// The name that was looked for.
        name: String,
    },

    /// The link exists and is something else.
    #[error("network interface {name:?} is not a bridge but {kind}: name a bridge, or create one")]
    NotABridge {
        /// The link's name.
        name: String,
        /// Its kind in the words of ip-link(8): "veth", "bond"; "a link without a kind, such as a physical card" for a physical card or lo.
        kind: String,
    },

    /// The tap belongs to a bridge (or bond) already, perhaps the very one that was meant.
    #[error("tap {tap:?} is already a port of {bridge:?}: take it out first (`ip link set {tap} nomaster`)")]
    AlreadyEnslaved {
        /// The tap's name.
        tap: String,
        /// What it is a port of.
        bridge: String,
    },

    /// The tap exists and is no bridge's port.
    #[error("network interface {tap:?} is not a port of a bridge: it must join one first")]
    NotAPort {
        /// The tap's name.
        tap: String,
    },

    /// The port did not come to forward in time.
    #[error(
        "the bridge port of tap {tap:?} is still {state} after {} s: it needs a carrier (a running QEMU) and, \
         on a bridge with STP, twice the bridge's forward delay",
        within.as_secs_f32()
    )]
    NotForwarding {
        /// The tap's name.
        tap: String,
        /// The state it was last seen in.
        state: PortState,
        /// How long was waited.
        within: Duration,
    },

    /// The kernel's link notifications stopped coming, so there is nothing left to wait for.
    #[error(
        "the watch on this host's network interfaces has ended: the tokio runtime that ran it is gone, or its socket failed"
    )]
    WatchEnded,

    /// The kernel refused to make a fact hold, or not to.
    #[error("cannot {change}")]
    Change {
        /// The change, as in "make eth0 a port of br0".
        change: String,
        /// The kernel's answer.
        source: io::Error,
    },

    /// A configuration of this host's links could not be read, written or applied.
    #[error("cannot {what}")]
    Native {
        /// The step, as in "run `networkctl reload`".
        what: String,
        /// Why.
        source: io::Error,
    },

    /// Whatever configures this host's links has not done so in time.
    #[error("{link} does not have {} within {} s", listed(addresses), within.as_secs_f32())]
    NotCarried {
        /// The link.
        link: String,
        /// The addresses that it was to have.
        addresses: Vec<IpAddr>,
        /// How long was waited.
        within: Duration,
    },

    /// The kernel refused a request.
    #[error("cannot {what} {link}")]
    Netlink {
        /// The step, as a verb phrase that `link` completes.
        what: &'static str,
        /// The link that it was about.
        link: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

fn listed(addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    if addresses.is_empty() {
        "its port".to_owned()
    } else {
        format!("its port and {}", addresses.join(", "))
    }
}

/// Turns rtnetlink's error into ours.
pub(crate) fn failed(what: &'static str, link: &str, error: rtnetlink::Error) -> NetworkError {
    let source = match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other),
    };
    NetworkError::Netlink { what, link: link.to_owned(), source }
}

/// What is to be made is there (EEXIST).
pub(crate) const EXISTS: i32 = 17;
/// The link has no such address (EADDRNOTAVAIL).
pub(crate) const ABSENT_ADDRESS: i32 = 99;
/// There is no such route (ESRCH).
pub(crate) const ABSENT_ROUTE: i32 = 3;

/// The number of the kernel's refusal (errno(3)).
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().raw_os_error(),
        _ => None,
    }
}

/// Whether the kernel says that the link does not exist (ENODEV).
pub(crate) fn absent(error: &rtnetlink::Error) -> bool {
    const ENODEV: i32 = 19;
    errno(error) == Some(ENODEV)
}
