//! The lab's networks: who is connected to whom, and with which addresses.
//!
//! ```text
//!   namespace kvm1            namespace switch           namespace kvm2
//!   mgmt0 10.77.0.1 ───────── bridge mgmt ────────────── mgmt0 10.77.0.2
//!   br0   10.78.0.1                │                     br0   10.78.0.2
//!     └─ uplink ───────────── bridge guest ───────────── uplink ─┘
//!                                  │
//!   namespace client: mgmt0 10.77.0.10, guest0 10.78.0.10; namespace nfs, where there is one: the same with 20
//! ```
//!
//! On the management network every neighbour is entered for good: a cut network is then plain silence, as behind a
//! router, and not "no route to host" after three seconds of unanswered ARP. The guest network learns as usual.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::limits::{LOOK, STP_FORWARD_DELAY, STP_FORWARDS};
use crate::namespace::{self, Namespace};

/// The bridge that guests are on, in each host.
pub const BRIDGE: &str = "br0";
/// The part of the client in both networks.
pub const CLIENT: u8 = 10;

/// The address on the management network.
pub fn management(part: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, part)
}

/// The address on the guest network.
pub fn guest(part: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 78, 0, part)
}

/// Links that the lab itself makes in a host; whatever else is there later was made by an agent or QEMU.
pub(crate) const HOST_LINKS: [&str; 3] = [MANAGEMENT_LINK, "uplink", BRIDGE];
/// The link of a host by which its agent talks to the others.
pub const MANAGEMENT_LINK: &str = "mgmt0";

/// A namespace on both networks.
pub(crate) struct Place<'a> {
    pub(crate) name: &'a str,
    pub(crate) namespace: &'a Namespace,
    /// The last part of its addresses.
    pub(crate) part: u8,
    /// Hosts have a bridge, the client has not.
    pub(crate) bridge: bool,
}

/// Makes the namespaces and all links.
pub(crate) fn build(switch: &Namespace, places: &[Place<'_>], stp: bool) -> Result<()> {
    let mut names = format!("netns add {}\n", switch.name());
    for place in places {
        writeln!(names, "netns add {}", place.namespace.name())?;
    }
    namespace::batch(&[], &names)?;

    let mut lines = String::from("link set lo up\n");
    for bridge in ["mgmt", "guest"] {
        writeln!(lines, "link add {bridge} type bridge stp_state 0 forward_delay 0\nlink set {bridge} up")?;
    }
    for Place { name, namespace, part, bridge } in places {
        let inner = if *bridge { "uplink" } else { "guest0" };
        for (port, inside, address, on) in [
            (format!("{name}-mgmt"), "mgmt0", mac(1, *part), "mgmt"),
            (format!("{name}-guest"), inner, mac(2, *part), "guest"),
        ] {
            let inside_of = namespace.name();
            writeln!(
                lines,
                "link add {port} type veth peer name {inside} address {address} netns {inside_of}\n\
                 link set {port} master {on} up"
            )?;
        }
    }
    switch.ip(&lines)?;

    for place in places {
        place.namespace.ip(&inside(place, places, stp)?)?;
    }
    if stp {
        for place in places.iter().filter(|place| place.bridge) {
            wait_until_forwarding(place.namespace, "uplink")?;
        }
    }
    Ok(())
}

fn inside(place: &Place<'_>, places: &[Place<'_>], stp: bool) -> Result<String> {
    let part = place.part;
    let mut lines = String::from("link set lo up\n");
    writeln!(lines, "addr add {}/24 dev mgmt0\nlink set mgmt0 up", management(part))?;
    for other in places.iter().filter(|other| other.part != part) {
        let address = management(other.part);
        writeln!(lines, "neigh replace {address} lladdr {} dev mgmt0 nud permanent", mac(1, other.part))?;
    }
    if place.bridge {
        // In hundredths of a second.
        let delay = if stp { STP_FORWARD_DELAY.as_millis() / 10 } else { 0 };
        let stp = u8::from(stp);
        writeln!(
            lines,
            "link add {BRIDGE} address {} type bridge stp_state {stp} forward_delay {delay}\n\
             link set uplink master {BRIDGE} up\n\
             addr add {}/24 dev {BRIDGE}\nlink set {BRIDGE} up",
            mac(3, part),
            guest(part)
        )?;
    } else {
        writeln!(lines, "addr add {}/24 dev guest0\nlink set guest0 up", guest(part))?;
    }
    Ok(lines)
}

/// The port behind which the switch of the guest network has learned an address.
pub(crate) fn learned_behind(switch: &Namespace, mac: &str) -> Result<Option<String>> {
    let mut asked = Command::new("bridge");
    let output = asked
        .args(["-n", switch.name(), "-json", "fdb", "show", "br", "guest"])
        .output()
        .context("bridge")?;
    ensure!(output.status.success(), "bridge fdb: {}", String::from_utf8_lossy(&output.stderr).trim());
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    let entry = entries.iter().find(|entry| entry["mac"].as_str() == Some(mac));
    Ok(entry.and_then(|entry| entry["ifname"].as_str()).map(str::to_owned))
}

/// The MAC address that a namespace has for an address of the guest network (ARP), where it has one.
pub(crate) fn resolved(namespace: &Namespace, address: Ipv4Addr) -> Result<Option<String>> {
    let mut asked = Command::new("ip");
    let output = asked
        .args(["-n", namespace.name(), "-json", "neigh", "show", &address.to_string()])
        .output()
        .context("ip")?;
    ensure!(output.status.success(), "ip neigh: {}", String::from_utf8_lossy(&output.stderr).trim());
    let entries: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout)?;
    Ok(entries.iter().find_map(|entry| entry["lladdr"].as_str()).map(str::to_owned))
}

/// Takes a host's cable out of the management switch; both ends keep their carrier.
pub(crate) fn cut(switch: &Namespace, host: &str) -> Result<()> {
    switch.ip(&format!("link set {host}-mgmt nomaster\n"))
}

/// Puts it back.
pub(crate) fn heal(switch: &Namespace, host: &str) -> Result<()> {
    switch.ip(&format!("link set {host}-mgmt master mgmt\n"))
}

/// Bounds what a host sends into the management network (a token bucket, tc-tbf(8)); the other way stays free.
pub(crate) fn shape(host: &Namespace, bytes_per_s: u64) -> Result<()> {
    let output = host
        .command("tc")
        .args(["qdisc", "replace", "dev", "mgmt0", "root", "tbf", "rate"])
        .arg(format!("{}bit", bytes_per_s * 8))
        .args(["burst", "256k", "latency", "50ms"])
        .output()
        .context("tc")?;
    ensure!(output.status.success(), "tc: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Undoes [`shape`].
pub(crate) fn unshape(host: &Namespace) -> Result<()> {
    let output =
        host.command("tc").args(["qdisc", "delete", "dev", "mgmt0", "root"]).output().context("tc")?;
    ensure!(output.status.success(), "tc: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// What a host has sent into the management network since its link was made.
pub(crate) fn sent_bytes(host: &Namespace) -> Result<u64> {
    let output = Command::new("ip")
        .args(["-n", host.name(), "-json", "-statistics", "link", "show", "dev", "mgmt0"])
        .output()
        .context("ip")?;
    ensure!(output.status.success(), "ip link: {}", String::from_utf8_lossy(&output.stderr).trim());
    let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    links[0]["stats64"]["tx"]["bytes"].as_u64().context("ip tells no statistics")
}

/// What of another host a host does not hear any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unheard {
    /// Anything at all.
    Everything,
    /// What the other's agent says; memory still goes over.
    Words,
    /// What agents say over connections that one of them has opened from these ports.
    Over(Vec<u16>),
}

/// The nftables table of the lab's in a host's namespace.
const TABLE: &str = "inet ferry_lab";

/// Has a host not hear another one any more, while it is still heard itself. Dropped where it arrives, so that the sender
/// is told nothing.
pub(crate) fn deafen(host: &Namespace, other: Ipv4Addr, port: u16, unheard: Unheard) -> Result<()> {
    let rules = match unheard {
        Unheard::Everything => vec![format!("ip saddr {other} drop")],
        Unheard::Words => {
            ["sport", "dport"].map(|end| format!("ip saddr {other} tcp {end} {port} drop")).to_vec()
        }
        Unheard::Over(ports) => {
            let ends = ports.iter().flat_map(|port| [("sport", port), ("dport", port)]);
            ends.map(|(end, port)| format!("ip saddr {other} tcp {end} {port} drop")).collect()
        }
    };
    let mut lines =
        format!("add table {TABLE}\nadd chain {TABLE} input {{ type filter hook input priority 0; }}\n");
    for rule in rules {
        writeln!(lines, "add rule {TABLE} input {rule}")?;
    }
    nft(host, &lines)
}

/// Undoes [`deafen`]; a host that hears already stays as it is.
pub(crate) fn hear(host: &Namespace) -> Result<()> {
    nft(host, &format!("add table {TABLE}\ndelete table {TABLE}\n"))
}

fn nft(host: &Namespace, lines: &str) -> Result<()> {
    let output = host.command("nft").arg(lines).output().context("nft")?;
    ensure!(output.status.success(), "nft: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Locally administered, and unique within the lab: the network, then the place.
fn mac(network: u8, part: u8) -> String {
    format!("02:fe:00:00:{network:02x}:{part:02x}")
}

fn wait_until_forwarding(namespace: &Namespace, port: &str) -> Result<()> {
    let end = Instant::now() + STP_FORWARDS;
    loop {
        let output = Command::new("ip")
            .args(["-n", namespace.name(), "-details", "-json", "link", "show", "dev", port])
            .output()
            .context("ip")?;
        let links: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let state = links[0]["linkinfo"]["info_slave_data"]["state"].as_str().unwrap_or("unknown");
        if state == "forwarding" {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("port {port} in {} is still {state} after {STP_FORWARDS:?}", namespace.name());
        }
        thread::sleep(LOOK);
    }
}
