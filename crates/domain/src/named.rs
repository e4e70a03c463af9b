//! Which device of a domain a `<disk>` or `<interface>` names, where that is all it is written for. Main type:
//! [`Named`].

use crate::definition::tree;
use crate::interface::MacAddress;
use crate::problem::{DefinitionError, Problem};
use crate::reader::{is, path, qname};

/// A device by what no other of its domain has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// `<target dev=…>` of a disk.
    Disk(String),
    /// `<mac address=…>` of an interface.
    Interface(MacAddress),
}

/// Reads the name out of one `<disk>` or `<interface>`, whatever else is written there.
///
/// # Errors
///
/// Neither of both, or without a name.
pub fn named(fragment: &str) -> Result<Named, DefinitionError> {
    let document = tree(fragment)?;
    let root = document.root_element();
    let attribute = |child: &str, name: &str| {
        root.children().find(|node| is(*node, child)).and_then(|node| node.attribute(name))
    };
    let (name, mend) = match qname(root) {
        "disk" => (
            attribute("target", "dev").map(|target| Named::Disk(target.to_owned())),
            "write <target dev='…'/>, the guest's name for the disk",
        ),
        "interface" => (
            attribute("mac", "address").and_then(|mac| mac.parse().ok()).map(Named::Interface),
            "write <mac address='…'/>, as `ferry dumpxml` shows it",
        ),
        _ => (None, "give a <disk> or an <interface>"),
    };
    let at = document.text_pos_at(root.range().start);
    name.ok_or_else(|| DefinitionError {
        problems: vec![Problem {
            line: at.row,
            column: at.col,
            element: path(root),
            message: "this names no device".to_owned(),
            mend: mend.to_owned(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::{Named, named};

    #[track_caller]
    fn check(fragment: &str, expect: Option<Named>) {
        assert_eq!(named(fragment).ok(), expect, "{fragment}");
    }

    #[test]
    fn devices_are_named_by_their_target_or_mac() {
        check("<disk><target bus='virtio' dev='vdb'/></disk>", Some(Named::Disk("vdb".into())));
        let mac = "52:54:00:00:00:01".parse().expect("a MAC address");
        check("<interface><mac address='52:54:00:00:00:01'/></interface>", Some(Named::Interface(mac)));
        for nothing in
            ["<disk/>", "<interface><mac address='x'/></interface>", "<rng><target dev='a'/></rng>", "<"]
        {
            check(nothing, None);
        }
    }
}
