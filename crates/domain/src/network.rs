//! libvirt's `<network>`: which bridge a network is on this host. It never looks at a link.

use crate::definition::tree;
use crate::problem::DefinitionError;
use crate::reader::is;

/// The bridge of a network by its definition in `/etc/libvirt/qemu/networks`; none where its packets go through no
/// bridge (`<forward mode='passthrough'>` and its like, or a card by name).
///
/// # Errors
///
/// The text is no XML.
pub fn network_bridge(xml: &str) -> Result<Option<String>, DefinitionError> {
    let document = tree(xml)?;
    let root = document.root_element();
    let child = |name: &str| root.children().find(|child| is(*child, name));
    let mode = child("forward").and_then(|forward| forward.attribute("mode"));
    let through_a_card = ["passthrough", "private", "vepa", "hostdev"].iter().any(|it| mode == Some(*it));
    let bridge = child("bridge").and_then(|bridge| bridge.attribute("name"));
    Ok(bridge.filter(|name| is(root, "network") && !through_a_card && !name.is_empty()).map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::network_bridge;

    fn check(inner: &str, expect: Option<&str>) {
        let xml = format!("<network><name>n</name>{inner}</network>");
        assert_eq!(network_bridge(&xml).unwrap().as_deref(), expect, "{inner}");
    }

    #[test]
    fn a_network_has_a_bridge_or_none() {
        check(
            "<forward mode='nat'/><bridge name='virbr0' stp='on' delay='0'/><ip address='192.168.122.1'/>",
            Some("virbr0"),
        );
        check("<forward mode='bridge'/><bridge name='br0'/>", Some("br0"));
        check("<bridge name='virbr9'/>", Some("virbr9"));
        check("<forward mode='bridge'><interface dev='eth0'/></forward>", None);
        check("<forward mode='passthrough'/><bridge name='br0'/>", None);
        assert_eq!(network_bridge("<domain><bridge name='br0'/></domain>").unwrap(), None);
        network_bridge("<network>").unwrap_err();
    }
}
