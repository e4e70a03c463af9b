//! ifupdown's configuration: in the file in which the uplink's stanzas stand (interfaces(5)), they give way to a block
//! with the bridge's. Whatever else is changed in that file stays so when the bridge goes. The bridge is made with ip(8),
//! so nothing else need be installed. Main functions: [`find`], [`plan`], [`release`].
//!
//! ```text
//! #ferry br0# iface eth0 inet dhcp        a line that gave way
//! # ferry: the bridge br0
//! iface eth0 inet manual
//! auto br0
//! iface br0 inet dhcp
//! # ferry: end of the bridge br0
//! ```

use std::io;
use std::path::{Path, PathBuf};

use super::{Keeper, Native, Step, Wanted, colons, native, words};
use crate::NetworkError;

/// Words that end the stanza before them, besides those that begin with `allow-`.
const BEGINNINGS: [&str; 9] = [
    "iface",
    "auto",
    "mapping",
    "source",
    "source-directory",
    "template",
    "rename",
    "no-auto-down",
    "no-scripts",
];

/// How a line begins that gave way to a bridge.
const MARK: &str = "#ferry ";
/// How the lines around a bridge's block begin.
const AROUND: &str = "# ferry: ";

/// The file with the uplink's stanzas.
pub(super) struct Found {
    path: PathBuf,
    text: String,
}

/// Looks for the stanzas of a link that ifup(8) has brought up.
pub(super) fn find(root: &Path, link: &str) -> Result<Option<Found>, NetworkError> {
    let state = std::fs::read_to_string(root.join("run/network/ifstate")).unwrap_or_default();
    if !state.lines().any(|line| line.strip_prefix(link).is_some_and(|rest| rest.starts_with('='))) {
        return Ok(None);
    }
    let directory = Path::new("/etc/network");
    let mut files = vec![directory.join("interfaces")];
    if let Ok(more) = std::fs::read_dir(root.join("etc/network/interfaces.d")) {
        let more = more.flatten().filter(|entry| entry.path().is_file());
        files.extend(more.map(|file| directory.join("interfaces.d").join(file.file_name())));
    }
    let mut found: Option<Found> = None;
    for path in files {
        let read = std::fs::read(root.join(path.strip_prefix("/").unwrap_or(&path)));
        let bytes = read.map_err(|source| native(format!("read {}", path.display()), source))?;
        if !String::from_utf8_lossy(&bytes).lines().any(|line| is_stanza_of(line, link)) {
            continue;
        }
        let what = || format!("write the bridge into {}", path.display());
        if let Some(first) = &found {
            let cause =
                format!("{link} has stanzas in {} as well: put them into one file", first.path.display());
            return Err(native(what(), io::Error::other(cause)));
        }
        let text = String::from_utf8(bytes).map_err(|error| native(what(), io::Error::other(error)))?;
        found = Some(Found { path, text });
    }
    Ok(found)
}

fn is_stanza_of(line: &str, link: &str) -> bool {
    let mut words = line.split_whitespace();
    words.next() == Some("iface") && words.next() == Some(link)
}

/// Whether the stanza before this line has ended. What was written for another bridge belongs to none.
fn is_beginning(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    let ours = line.starts_with(MARK) || line.starts_with(AROUND);
    ours || BEGINNINGS.contains(&word) || word.starts_with("allow-")
}

pub(super) fn plan(wanted: &Wanted<'_>, found: &Found) -> Native {
    let Wanted { bridge, uplink, vlan, .. } = *wanted;
    let write = |text: String| Step::Write { path: found.path.clone(), text };
    let run = |verb: &str, link: &str| words(&format!("{verb} {link}"));
    let release = Step::Release { path: found.path.clone(), bridge: bridge.to_owned() };
    let mut unmake = vec![run("ifdown", bridge), Step::Unlink { link: bridge.to_owned() }];
    let make = match vlan {
        Some(vlan) => {
            unmake.extend([Step::Unlink { link: vlan.name.clone() }, release]);
            let stanza = format!("auto {bridge}\niface {bridge} inet manual\n{}", made(wanted, &vlan.name));
            vec![write(with_block(&found.text, bridge, &stanza)), run("ifup", bridge)]
        }
        None => {
            unmake.extend([release, run("ifup", &uplink.name)]);
            vec![run("ifdown", &uplink.name), write(taken_over(wanted, &found.text)), run("ifup", bridge)]
        }
    };
    Native { keeper: Keeper::Ifupdown, make, unmake }
}

/// The uplink's stanzas give way to the bridge's; the first one makes it. The uplink is still started where it was, as one
/// that has nothing.
fn taken_over(wanted: &Wanted<'_>, text: &str) -> String {
    let Wanted { bridge, uplink, .. } = *wanted;
    let (mut kept, mut stanzas) = (String::new(), String::new());
    let mut makes = Some(made(wanted, &uplink.name));
    let (mut within, mut goes_on) = (false, false);
    for line in text.lines() {
        let begins = !goes_on && is_beginning(line);
        goes_on = line.ends_with('\\');
        if begins {
            within = is_stanza_of(line, &uplink.name);
        }
        if !within {
            kept += &format!("{line}\n");
            continue;
        }
        kept += &format!("{}{line}\n", mark(bridge));
        if begins {
            let rest: Vec<&str> = line.split_whitespace().skip(2).collect();
            stanzas += &format!("iface {bridge} {}\n", rest.join(" "));
        } else {
            stanzas += &format!("{line}\n");
        }
        if !goes_on {
            stanzas += &makes.take().unwrap_or_default();
        }
    }
    let block = format!("iface {} inet manual\nauto {bridge}\n{stanzas}", uplink.name);
    with_block(&kept, bridge, &block)
}

/// What stands before a line that gave way to a bridge.
fn mark(bridge: &str) -> String {
    format!("{MARK}{bridge}# ")
}

/// The lines around a bridge's block.
fn ends(bridge: &str) -> [String; 2] {
    [
        format!("{AROUND}the bridge {bridge}; `ferry bridge delete {bridge}` removes this"),
        format!("{AROUND}end of the bridge {bridge}"),
    ]
}

fn with_block(text: &str, bridge: &str, block: &str) -> String {
    let [first, last] = ends(bridge);
    let between = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{between}{first}\n{block}{last}\n")
}

/// Takes the bridge out of a file.
pub(super) fn release(path: &Path, bridge: &str) -> io::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        read => read?,
    };
    let released = released(&text, bridge);
    if released == text { Ok(()) } else { super::write(path, &released) }
}

fn released(text: &str, bridge: &str) -> String {
    let (mark, [first, last]) = (mark(bridge), ends(bridge));
    let mut released = String::new();
    let mut within = false;
    for line in text.split_inclusive('\n') {
        let plain = line.trim_end();
        within |= plain == first;
        if !within {
            released += line.strip_prefix(&mark).unwrap_or(line);
        }
        within &= plain != last;
    }
    released
}

/// What makes the bridge before its addresses come, and removes it after they have gone.
fn made(wanted: &Wanted<'_>, port: &str) -> String {
    let Wanted { bridge, uplink, mac, mtu, vlan, .. } = *wanted;
    let mac = colons(mac);
    let mut lines = Vec::new();
    if let Some(vlan) = vlan {
        let wider = if mtu > uplink.mtu { format!(" mtu {mtu}") } else { String::new() };
        lines.push(format!("pre-up ip link set {}{wider} up", uplink.name));
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
