//! ifupdown's configuration: the stanzas of the uplink become the bridge's, in the file in which they stand
//! (interfaces(5)). The bridge is made with ip(8), so nothing else need be installed. It runs nothing itself. Main
//! functions: [`find`], [`plan`].

use std::path::{Path, PathBuf};

use super::{Keeper, Native, Step, Wanted, colons, native, words};
use crate::NetworkError;

/// The file with the uplink's stanzas.
pub(super) struct Found {
    path: PathBuf,
    text: String,
}

/// Looks for a stanza of a link that ifup(8) has brought up.
pub(super) fn find(root: &Path, link: &str) -> Result<Option<Found>, NetworkError> {
    let state = std::fs::read_to_string(root.join("run/network/ifstate")).unwrap_or_default();
    if !state.lines().any(|line| line.strip_prefix(link).is_some_and(|rest| rest.starts_with('='))) {
        return Ok(None);
    }
    let directory = Path::new("/etc/network");
    let mut files = vec![directory.join("interfaces")];
    if let Ok(more) = std::fs::read_dir(root.join("etc/network/interfaces.d")) {
        files.extend(more.flatten().map(|file| directory.join("interfaces.d").join(file.file_name())));
    }
    for path in files {
        let read = std::fs::read_to_string(root.join(path.strip_prefix("/").unwrap_or(&path)));
        let text = read.map_err(|source| native(format!("read {}", path.display()), source))?;
        if text.lines().any(|line| is_stanza_of(line, link)) {
            return Ok(Some(Found { path, text }));
        }
    }
    Ok(None)
}

fn is_stanza_of(line: &str, link: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("iface") && words.next() == Some(link)
}

pub(super) fn plan(wanted: &Wanted<'_>, found: &Found) -> Native {
    let Wanted { bridge, uplink, vlan, .. } = *wanted;
    let write = |text: String| Step::Write { path: found.path.clone(), text };
    let (up, down) = (words(&format!("ifup {bridge}")), words(&format!("ifdown {bridge}")));
    let mut unlink: Vec<Step> = vec![Step::Unlink { link: bridge.to_owned() }];
    let (make, back) = match vlan {
        Some(vlan) => {
            unlink.push(Step::Unlink { link: vlan.name.clone() });
            let stanza = format!("\nauto {bridge}\niface {bridge} inet manual\n{}", made(wanted, &vlan.name));
            (vec![write(found.text.clone() + &stanza), up], None)
        }
        None => {
            let first = words(&format!("ifdown {}", uplink.name));
            let back = words(&format!("ifup {}", uplink.name));
            (vec![first, write(renamed(wanted, &found.text)), up], Some(back))
        }
    };
    let unmake = std::iter::once(down).chain(unlink).chain([write(found.text.clone())]).chain(back);
    Native { keeper: Keeper::Ifupdown, unmake: unmake.collect(), make }
}

/// The uplink's stanzas are the bridge's; the first one makes it.
fn renamed(wanted: &Wanted<'_>, text: &str) -> String {
    let uplink = wanted.uplink.name.as_str();
    let mut renamed = String::new();
    let mut is_made = false;
    for line in text.lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let verb = words.first().copied().unwrap_or_default();
        let is_stanza = is_stanza_of(line, uplink);
        if is_stanza || verb == "auto" || verb.starts_with("allow-") {
            for word in words.iter_mut().skip(1).filter(|word| **word == uplink) {
                *word = wanted.bridge;
            }
            // Nothing plugs a bridge in.
            if !is_stanza && verb != "auto" && words.get(1) == Some(&wanted.bridge) {
                words[0] = "auto";
            }
            renamed += &words.join(" ");
        } else {
            renamed += line;
        }
        renamed.push('\n');
        if is_stanza && !std::mem::replace(&mut is_made, true) {
            renamed += &made(wanted, uplink);
        }
    }
    renamed + &format!("\niface {uplink} inet manual\n")
}

/// What makes the bridge before its addresses come, and removes it after they have gone.
fn made(wanted: &Wanted<'_>, port: &str) -> String {
    let Wanted { bridge, uplink, mac, mtu, vlan, .. } = *wanted;
    let mac = colons(mac);
    let mut lines = Vec::new();
    if let Some(vlan) = vlan {
        lines.push(format!("pre-up ip link set {} up", uplink.name));
        lines.push(format!(
            "pre-up ip link add link {} name {port} type vlan id {} || true",
            uplink.name, vlan.id
        ));
    }
    lines.push(format!(
        "pre-up ip link add {bridge} address {mac} mtu {mtu} type bridge stp_state 0 forward_delay 0 || true"
    ));
    lines.push(format!("pre-up ip link set {port} mtu {mtu} master {bridge} up"));
    lines.push(format!("pre-up ip link set {bridge} up"));
    lines.push(format!("post-down ip link delete {bridge} || true"));
    lines.into_iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests;
