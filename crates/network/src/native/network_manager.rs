//! NetworkManager's configuration: a profile of the bridge with the addresses and routes of the uplink's, and one that
//! makes the uplink its port; the uplink's own is kept, and no longer starts by itself (nm-settings-nmcli(5)). Main
//! functions: [`find`], [`plan`].

use std::io;
use std::path::Path;

use super::{Keeper, Native, Step, Wanted, colons, failed, native, output, run};
use crate::NetworkError;

/// What a bridge takes over from its uplink's profile, by nmcli's names.
const PROPERTIES: [&str; 27] = [
    "connection.zone",
    "ipv4.method",
    "ipv4.addresses",
    "ipv4.gateway",
    "ipv4.dns",
    "ipv4.dns-search",
    "ipv4.routes",
    "ipv4.route-metric",
    "ipv4.never-default",
    "ipv4.may-fail",
    "ipv4.ignore-auto-dns",
    "ipv4.ignore-auto-routes",
    "ipv4.dhcp-client-id",
    "ipv4.dhcp-hostname",
    "ipv4.routing-rules",
    "ipv6.method",
    "ipv6.addresses",
    "ipv6.gateway",
    "ipv6.dns",
    "ipv6.dns-search",
    "ipv6.routes",
    "ipv6.route-metric",
    "ipv6.never-default",
    "ipv6.may-fail",
    "ipv6.routing-rules",
    "ipv6.ip6-privacy",
    "ipv6.addr-gen-mode",
];

/// A card with this logs in at its switch (802.1X), which a port of a bridge does not.
const LOGIN: &str = "802-1x.eap";

/// nmcli's exit code where what it was asked about does not exist (nmcli(1)).
const ABSENT: i32 = 10;

/// The number of a device's state from which on NetworkManager manages it (`NMDeviceState`: 10 is unmanaged).
const MANAGED: u32 = 20;

/// The profile that is active on a link.
pub(super) struct Found {
    uuid: String,
    autoconnect: bool,
    /// Names and values, those that are set.
    properties: Vec<(String, String)>,
}

/// Asks NetworkManager, where it runs, for the profile of a link that it manages.
pub(super) async fn find(root: &Path, link: &str) -> Result<Option<Found>, NetworkError> {
    if !root.join("run/NetworkManager").is_dir() {
        return Ok(None);
    }
    let fields = "GENERAL.STATE,GENERAL.CON-UUID";
    // One that does not run, or does not know the link, manages nothing.
    let Ok(device) = nmcli(&["-g", fields, "device", "show", link]).await else { return Ok(None) };
    let mut lines = device.lines();
    let state = lines.next().and_then(|line| line.split(' ').next()?.parse::<u32>().ok());
    let uuid = lines.next().unwrap_or_default().trim().to_owned();
    if state.is_none_or(|state| state <= MANAGED) || uuid.is_empty() {
        return Ok(None);
    }
    let fields = format!("connection.type,connection.autoconnect,{LOGIN},{}", PROPERTIES.join(","));
    let profile = nmcli(&["-e", "no", "-t", "-f", &fields, "connection", "show", &uuid]).await?;
    read(uuid, &profile).map(Some)
}

async fn nmcli(words: &[&str]) -> Result<String, NetworkError> {
    let words: Vec<String> =
        std::iter::once("nmcli").chain(words.iter().copied()).map(str::to_owned).collect();
    run(&words).await
}

/// Lines `NAME:VALUE`.
fn read(uuid: String, profile: &str) -> Result<Found, NetworkError> {
    let all: Vec<(&str, &str)> = profile.lines().filter_map(|line| line.split_once(':')).collect();
    let value = |name: &str| all.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
    let kind = value("connection.type");
    if kind != "802-3-ethernet" {
        return Err(refused(format!("its profile is of type {kind}, not 802-3-ethernet")));
    }
    if !["", "--"].contains(&value(LOGIN)) {
        return Err(refused("it logs in at its switch (802.1X), which a bridge's port does not".to_owned()));
    }
    let is_set = |value: &&(&str, &str)| !value.1.is_empty() && value.1 != "--";
    let wanted = all.iter().filter(|(name, _)| PROPERTIES.contains(name)).filter(is_set);
    Ok(Found {
        uuid,
        autoconnect: value("connection.autoconnect") == "yes",
        properties: wanted.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    })
}

fn refused(why: String) -> NetworkError {
    native("have NetworkManager make the bridge".to_owned(), io::Error::other(why))
}

pub(super) fn plan(wanted: &Wanted<'_>, found: &Found) -> Result<Native, NetworkError> {
    let Wanted { bridge, uplink, mac, mtu, mtu_asked, vlan } = *wanted;
    if vlan.is_some() && mtu > uplink.mtu {
        return Err(refused(format!(
            "{} has an MTU of {}, and a VLAN on it can have no larger one: set 802-3-ethernet.mtu of its profile first",
            uplink.name, uplink.mtu
        )));
    }
    let (profile, port) = (format!("ferry-{bridge}"), format!("ferry-{bridge}-port"));
    let mtu = if mtu_asked { format!(" 802-3-ethernet.mtu {mtu}") } else { String::new() };
    let mut made = line(&format!(
        "connection add type bridge con-name {profile} ifname {bridge} bridge.stp no bridge.mac-address {}{mtu}",
        colons(mac)
    ));
    let of_port = match vlan {
        None => format!("type ethernet con-name {port} ifname {}{mtu}", uplink.name),
        Some(vlan) => {
            format!("type vlan con-name {port} ifname {} dev {} id {}{mtu}", vlan.name, uplink.name, vlan.id)
        }
    };
    let joined = line(&format!("connection add {of_port} master {bridge} slave-type bridge"));
    let up = line(&format!("connection up {port}"));
    let mut unmake = vec![Step::Forget { profile: port }, Step::Forget { profile }];
    let links = std::iter::once(bridge).chain(vlan.map(|vlan| vlan.name.as_str()));
    unmake.extend(links.map(|link| Step::Unlink { link: link.to_owned() }));
    let make = if vlan.is_some() {
        extend(&mut made, ["ipv4.method", "disabled", "ipv6.method", "disabled"]);
        vec![made, joined, up]
    } else {
        extend(&mut made, found.properties.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        let autoconnect =
            |word| line(&format!("connection modify {} connection.autoconnect {word}", found.uuid));
        unmake.push(autoconnect(if found.autoconnect { "yes" } else { "no" }));
        unmake.push(line(&format!("connection up {}", found.uuid)));
        vec![made, joined, autoconnect("no"), up]
    };
    Ok(Native { keeper: Keeper::NetworkManager, make, unmake })
}

/// Removes a profile, if there is one of this name.
pub(super) async fn forget(profile: &str) -> Result<(), NetworkError> {
    let words = ["nmcli", "connection", "delete", profile].map(str::to_owned);
    let output = output(&words).await?;
    if output.status.success() || output.status.code() == Some(ABSENT) {
        Ok(())
    } else {
        Err(failed(&words, &output))
    }
}

fn line(line: &str) -> Step {
    super::words(&format!("nmcli {line}"))
}

/// Further words of a step; a value may have spaces in it.
fn extend<'a>(step: &mut Step, more: impl IntoIterator<Item = &'a str>) {
    if let Step::Run { words } = step {
        words.extend(more.into_iter().map(str::to_owned));
    }
}

#[cfg(test)]
mod tests;
