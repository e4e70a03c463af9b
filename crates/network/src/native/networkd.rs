//! systemd-networkd's configuration: the bridge gets the uplink's own .network file, but for the section that says which
//! link it is for (systemd.network(5), systemd.netdev(5)). It runs nothing itself. Main functions: [`find`], [`plan`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Keeper, Native, Step, Wanted, banner, colons, native, words};
use crate::NetworkError;
use crate::link::Link;

/// Where an administrator's files are; those of the same name elsewhere give way to them.
const DIRECTORY: &str = "/etc/systemd/network";
/// Where networkd looks; of two files with one name the later one counts (systemd.network(5)).
const DIRECTORIES: [&str; 4] =
    ["/usr/lib/systemd/network", "/usr/local/lib/systemd/network", "/run/systemd/network", DIRECTORY];
/// The first file that matches a link is its only one: this sorts before every name that begins with two digits.
const PREFIX: &str = "0-ferry";

/// Sections about addresses, routes and how they come, which the bridge takes over. The others are about the card.
const LAYER_3: [&str; 17] = [
    "Address",
    "DHCP",
    "DHCPPrefixDelegation",
    "DHCPServer",
    "DHCPServerStaticLease",
    "DHCPv4",
    "DHCPv6",
    "IPv6AcceptRA",
    "IPv6AddressLabel",
    "IPv6Prefix",
    "IPv6RoutePrefix",
    "IPv6SendRA",
    "Neighbor",
    "Network",
    "NextHop",
    "Route",
    "RoutingPolicyRule",
];
/// Both have it: the MTU and whether the host waits for the link when it boots.
const BOTH: &str = "Link";
/// Keys of the section Network that name links on top of the card, which stay there.
const ON_TOP: [&str; 7] = ["VLAN", "MACVLAN", "MACVTAP", "IPVLAN", "IPVTAP", "VXLAN", "Tunnel"];

/// The configuration of a link that networkd manages.
pub(super) struct Found {
    /// The .network file, with its drop-ins behind it.
    text: String,
    /// The name of that file.
    file: String,
    /// The identifier by which a DHCP server knows the link's lease (RFC 4361), where it has one.
    iaid: Option<u32>,
}

/// Reads what networkd says of a link in /run/systemd/netif, as sd-network(3) does.
pub(super) fn find(root: &Path, link: &Link) -> Result<Option<Found>, NetworkError> {
    let netif = root.join("run/systemd/netif");
    let Ok(state) = std::fs::read_to_string(netif.join(format!("links/{}", link.index))) else {
        return Ok(None);
    };
    let managed =
        value(&state, "ADMIN_STATE").is_some_and(|it| !["unmanaged", "linger", "failed"].contains(&it));
    let Some(file) = value(&state, "NETWORK_FILE").filter(|_| managed).map(PathBuf::from) else {
        return Ok(None);
    };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut text = String::new();
    for path in std::iter::once(file).chain(drop_ins(root, &name)) {
        let read = std::fs::read_to_string(root.join(path.strip_prefix("/").unwrap_or(&path)));
        text += &read.map_err(|source| native(format!("read {}", path.display()), source))?;
        text.push('\n');
    }
    let lease = std::fs::read_to_string(netif.join(format!("leases/{}", link.index))).unwrap_or_default();
    Ok(Some(Found { text, file: name, iaid: value(&lease, "CLIENTID").and_then(iaid) }))
}

/// The drop-ins of a file in the order in which they count. networkd itself tells them only since version 254.
fn drop_ins(root: &Path, file: &str) -> impl Iterator<Item = PathBuf> {
    let mut by_name = BTreeMap::new();
    for directory in DIRECTORIES {
        let directory = Path::new(directory).join(format!("{file}.d"));
        let there = std::fs::read_dir(root.join(directory.strip_prefix("/").unwrap_or(&directory)));
        for name in there.into_iter().flatten().flatten().map(|entry| entry.file_name()) {
            if Path::new(&name).extension().is_some_and(|it| it == "conf") {
                by_name.insert(name.clone(), directory.join(name));
            }
        }
    }
    by_name.into_values()
}

/// A value of lines `KEY=value`, without the quotes of a shell.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    Some(value.trim_matches('"'))
}

/// The second to fifth byte of an identifier that begins with 255.
fn iaid(client_id: &str) -> Option<u32> {
    u32::from_str_radix(client_id.strip_prefix("ff")?.get(..8)?, 16).ok()
}

pub(super) fn plan(wanted: &Wanted<'_>, found: &Found) -> Native {
    let Wanted { bridge, uplink, .. } = *wanted;
    let path = |name: &str| Path::new(DIRECTORY).join(name);
    let mut files = vec![(path(&format!("{PREFIX}-{bridge}.netdev")), bridge_netdev(wanted))];
    let mut links = vec![bridge];
    match wanted.vlan {
        None => {
            let (card, layer_3) = split(&found.text);
            let mtu = wanted.mtu_asked.then_some(wanted.mtu);
            let port = port(bridge, &uplink.name, &card, mtu);
            files.push((path(&format!("{PREFIX}-{bridge}-port.network")), port));
            let network = bridge_network(bridge, &layer_3, found.iaid);
            files.push((path(&format!("{PREFIX}-{bridge}.network")), network));
        }
        Some(vlan) => {
            let head = banner(bridge);
            let (name, mtu, id) = (&vlan.name, wanted.mtu, vlan.id);
            let wider = if mtu > uplink.mtu { format!("\n[Link]\nMTUBytes={mtu}\n") } else { String::new() };
            let on_top = format!("{head}[Network]\nVLAN={name}\n{wider}");
            files.push((path(&format!("{}.d/ferry-{bridge}.conf", found.file)), on_top));
            let netdev =
                format!("{head}[NetDev]\nName={name}\nKind=vlan\nMTUBytes={mtu}\n\n[VLAN]\nId={id}\n");
            files.push((path(&format!("{PREFIX}-{bridge}-vlan.netdev")), netdev));
            files.push((path(&format!("{PREFIX}-{bridge}-port.network")), port(bridge, name, "", None)));
            let without_addresses = "[Link]\nRequiredForOnline=no\n\n[Network]\nLinkLocalAddressing=no\n";
            files.push((
                path(&format!("{PREFIX}-{bridge}.network")),
                bridge_network(bridge, without_addresses, None),
            ));
            links.push(name);
        }
    }
    let mut make: Vec<Step> = Vec::new();
    let mut unmake: Vec<Step> = Vec::new();
    for (path, text) in files {
        unmake.push(Step::Remove { path: path.clone() });
        make.push(Step::Write { path, text });
    }
    make.push(words("networkctl reload"));
    unmake.extend(links.into_iter().map(|link| Step::Unlink { link: link.to_owned() }));
    unmake.push(words("networkctl reload"));
    unmake.push(words(&format!("networkctl reconfigure {}", uplink.name)));
    Native { keeper: Keeper::Networkd, make, unmake }
}

fn bridge_netdev(wanted: &Wanted<'_>) -> String {
    let Wanted { bridge, mac, mtu, .. } = wanted;
    let head = banner(bridge);
    let mac = colons(*mac);
    format!(
        "{head}[NetDev]\nName={bridge}\nKind=bridge\nMACAddress={mac}\nMTUBytes={mtu}\n\n[Bridge]\nSTP=no\nForwardDelaySec=0\n"
    )
}

fn port(bridge: &str, port: &str, card: &str, mtu: Option<u32>) -> String {
    let head = banner(bridge);
    let mtu = mtu.map_or_else(String::new, |mtu| format!("MTUBytes={mtu}\n"));
    format!(
        "{head}[Match]\nName={port}\n\n[Network]\nBridge={bridge}\nLinkLocalAddressing=no\n\n{card}\n[Link]\n\
         RequiredForOnline=no\n{mtu}"
    )
}

fn bridge_network(bridge: &str, layer_3: &str, iaid: Option<u32>) -> String {
    let head = banner(bridge);
    let lease = iaid.map_or_else(String::new, |iaid| format!("\n[DHCPv4]\nIAID={iaid}\n"));
    format!("{head}[Match]\nName={bridge}\n\n{layer_3}{lease}")
}

/// What stays with the card, and what goes to the bridge.
fn split(text: &str) -> (String, String) {
    let (mut card, mut layer_3) = (String::new(), String::new());
    let mut section = "";
    // Whether the line before goes on, and belongs to a key that stays with the card.
    let mut before = None;
    for line in text.lines() {
        let plain = line.trim();
        if let Some(name) = plain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let key = plain.split_once('=').map_or("", |(key, _)| key.trim());
        let begins_on_top = before.is_none() && section == "Network" && ON_TOP.contains(&key);
        let on_top = begins_on_top || before == Some(true);
        before = plain.ends_with('\\').then_some(on_top);
        if begins_on_top {
            card.push_str("[Network]\n");
        }
        let to_card = on_top || !LAYER_3.contains(&section);
        let to_bridge = section == BOTH || !to_card;
        if section == "Match" || section.is_empty() {
            continue;
        }
        for (text, wanted) in [(&mut card, to_card), (&mut layer_3, to_bridge)] {
            if wanted {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    (card, layer_3)
}

#[cfg(test)]
mod tests;
