//! What a link is, as the kernel describes it. It changes nothing. Main type: [`Link`].

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use serde::{Deserialize, Serialize};

use crate::{controller_of, info_of, is_up, mtu_of, name_of};

/// The facts of a link that decide whether it can be a bridge's uplink, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The kernel's number for it, unique in the namespace until it is removed.
    pub index: u32,
    /// Its kind in the words of ip-link(8), as in `bridge`; none for a physical card and for lo.
    pub kind: Option<String>,
    /// Its address, where that is an Ethernet one.
    pub mac: Option<[u8; 6]>,
    /// The largest payload of a frame on it, in bytes.
    pub mtu: u32,
    /// The largest MTU that it takes, where its driver says so.
    pub mtu_max: Option<u32>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it is the loopback.
    pub loopback: bool,
    /// Whether frames on it are Ethernet's (`ARPHRD_ETHER`), as a bridge wants them.
    pub ethernet: bool,
    /// Whether it is a wireless card, which an access point lets send with its own address only.
    pub wireless: bool,
    /// What it is a port of: a bridge, a bond, a VRF.
    pub controller: Option<String>,
    /// The VLAN that it is, and the link that it is on.
    pub vlan: Option<(u16, String)>,
}

/// An Ethernet address as people write it: `02:00:00:00:00:01`.
#[must_use]
pub fn colons(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// All links of a dump, in the kernel's order.
pub(crate) fn read(links: &[LinkMessage]) -> Vec<Link> {
    let names: HashMap<u32, &str> =
        links.iter().filter_map(|link| Some((link.header.index, name_of(link)?))).collect();
    let name =
        |index: u32| names.get(&index).map_or_else(|| format!("link number {index}"), |it| (*it).to_owned());
    links.iter().filter_map(|link| one(link, name)).collect()
}

fn one(link: &LinkMessage, name: impl Fn(u32) -> String) -> Option<Link> {
    let own = name_of(link)?;
    let mut facts = Link {
        name: own.to_owned(),
        index: link.header.index,
        kind: None,
        mac: None,
        mtu: mtu_of(link).unwrap_or_default(),
        mtu_max: None,
        up: is_up(link),
        loopback: link.header.flags.contains(LinkFlags::Loopback),
        ethernet: link.header.link_layer_type == LinkLayerType::Ether,
        wireless: is_wireless(own),
        controller: controller_of(link).map(&name),
        vlan: None,
    };
    let mut lower = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(address) => facts.mac = address.as_slice().try_into().ok(),
            // 0 means that the driver does not say.
            LinkAttribute::MaxMtu(max) if *max > 0 => facts.mtu_max = Some(*max),
            LinkAttribute::Link(index) => lower = Some(*index),
            _ => {}
        }
    }
    for info in info_of(link) {
        match info {
            LinkInfo::Kind(kind) => facts.kind = Some(kind.to_string()),
            LinkInfo::Data(InfoData::Vlan(vlan)) => {
                let id = vlan.iter().find_map(|fact| match fact {
                    InfoVlan::Id(id) => Some(*id),
                    _ => None,
                });
                facts.vlan = id.zip(lower.map(&name));
            }
            _ => {}
        }
    }
    Some(facts)
}

/// Whether cfg80211 has it (Documentation/ABI/testing/sysfs-class-net). rtnetlink does not say.
fn is_wireless(name: &str) -> bool {
    Path::new("/sys/class/net").join(name).join("phy80211").exists()
}

/// Whether this process is in a network namespace that somebody made and named (ip-netns(8)).
#[must_use]
pub fn in_named_namespace() -> bool {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|is| is.ino());
    let own = inode(Path::new("/proc/self/ns/net"));
    let named = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    own.is_some() && named.into_iter().any(|entry| inode(&entry.path()) == own)
}
