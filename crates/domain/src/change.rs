//! Changes that a person asks of a definition without editing it: [`Definition::with_vcpus`],
//! [`Definition::with_memory`], [`Definition::without_macs`]. They never touch a byte that they do not have to.

use crate::amount::scale;
use crate::definition::Definition;
use crate::domain::Bytes;
use crate::edit::{Editor, Element};
use crate::problem::DefinitionError;
use crate::reader::Node;

impl Definition {
    /// The definition with another number of vCPUs, all of them there at start. Where a topology is written, its
    /// sockets are made to fit.
    ///
    /// # Errors
    ///
    /// The number is not one that a domain can have, or the topology cannot be made to fit.
    pub fn with_vcpus(&self, vcpus: u32) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            let root = reading.nodes.root;
            match reader.child(root, "vcpu") {
                Some(node) => {
                    editor.set_text(node, &vcpus.to_string());
                    if node.has_attribute("current") {
                        editor.set_attribute(node, "current", &vcpus.to_string());
                    }
                }
                None => {
                    if let Some(memory) = reader.child(root, "memory") {
                        editor.insert_after(memory, &[Element::new("vcpu").text(vcpus.to_string())]);
                    }
                }
            }
            let topology = reading.domain.cpu.as_ref().and_then(|cpu| cpu.topology);
            let written = reading.nodes.cpu.and_then(|cpu| reader.child(cpu, "topology"));
            if let (Some(topology), Some(node)) = (topology, written) {
                let socket = topology.dies * topology.clusters * topology.cores * topology.threads;
                // What does not fit is found, and told with its place, when the text is read again.
                if vcpus.is_multiple_of(socket) {
                    editor.set_attribute(node, "sockets", &(vcpus / socket).to_string());
                }
            }
        })
    }

    /// The definition without the addresses of its network cards, so that freezing makes fresh ones.
    ///
    /// # Errors
    ///
    /// None are known; the text is read again, as after every edit.
    pub fn without_macs(&self) -> Result<Definition, DefinitionError> {
        self.edited(|reader, editor, reading| {
            for node in &reading.nodes.interfaces {
                if let Some(mac) = reader.child(*node, "mac") {
                    editor.remove(mac);
                }
            }
        })
    }

    /// The definition with another amount of memory, all of it the guest's at start.
    ///
    /// # Errors
    ///
    /// The amount is not one that a domain can have.
    pub fn with_memory(&self, memory: Bytes) -> Result<Definition, DefinitionError> {
        let memory = Bytes(memory.mib() << 20);
        self.edited(|reader, editor, reading| {
            for name in ["memory", "currentMemory"] {
                if let Some(node) = reader.child(reading.nodes.root, name) {
                    set_amount(editor, node, memory);
                }
            }
        })
    }
}

/// Writes an amount in the unit that stands there, or in KiB where that does not go without a rest.
fn set_amount<'a>(editor: &mut Editor<'a>, node: Node<'a>, amount: Bytes) {
    let unit = node.attribute("unit").and_then(scale).unwrap_or(1 << 10);
    if amount.0.is_multiple_of(unit) {
        editor.set_text(node, &(amount.0 / unit).to_string());
    } else {
        editor.set_attribute(node, "unit", "KiB");
        editor.set_text(node, &amount.kib().to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(parts: &str) -> Definition {
        let xml = format!(
            "<domain type='qemu'>\n  <name>a</name>\n{parts}  <os><type machine='pc-q35-10.0'>hvm</type></os>\n  <devices/>\n</domain>"
        );
        Definition::parse(&xml).expect("a definition")
    }

    fn check(
        before: &str,
        change: impl FnOnce(&Definition) -> Result<Definition, DefinitionError>,
        after: &str,
    ) {
        let changed = change(&definition(before)).expect("it can be changed");
        assert_eq!(changed.xml(), definition(after).xml());
    }

    #[test]
    fn vcpus_take_their_sockets_along() {
        let four = |definition: &Definition| definition.with_vcpus(4);
        check("  <memory>1048576</memory>\n", four, "  <memory>1048576</memory>\n  <vcpu>4</vcpu>\n");
        check(
            "  <memory>1048576</memory>\n  <vcpu placement='static' current='1'>2</vcpu> <!-- two -->\n",
            four,
            "  <memory>1048576</memory>\n  <vcpu placement='static' current='4'>4</vcpu> <!-- two -->\n",
        );
        let topology = |sockets| {
            format!("<cpu mode='host-model'><topology sockets='{sockets}' cores='2' threads='1'/></cpu>\n")
        };
        check(
            &format!("<memory>1048576</memory>\n<vcpu>2</vcpu>{}", topology(1)),
            four,
            &format!("<memory>1048576</memory>\n<vcpu>4</vcpu>{}", topology(2)),
        );
        let two = definition(&format!("<memory>1048576</memory>\n<vcpu>2</vcpu>{}", topology(1)));
        let error = two.with_vcpus(3).expect_err("three do not fill sockets of two");
        assert!(error.problems.iter().any(|problem| problem.element.contains("topology")), "{error:?}");
        assert!(two.with_vcpus(0).is_err());
    }

    #[test]
    fn only_the_addresses_of_cards_go() {
        let with = |mac| {
            let xml = "<domain type='qemu'><name>a</name><memory>1048576</memory>
  <os><type machine='pc-q35-10.0'>hvm</type></os>
  <devices>
    <interface type='bridge'>{MAC}
      <source bridge='br0'/>
      <model type='virtio'/>
    </interface>
  </devices>
</domain>";
            Definition::parse(&xml.replace("{MAC}", mac)).expect("a definition")
        };
        let without =
            with("\n      <mac address='52:54:00:00:00:01'/>").without_macs().expect("it can be changed");
        assert_eq!(without.xml(), with("").xml());
    }

    #[test]
    fn memory_keeps_its_unit_where_it_can() {
        let three = |definition: &Definition| definition.with_memory(Bytes(3 << 30));
        check(
            "  <memory unit='GiB'>2</memory>\n  <currentMemory>1048576</currentMemory>\n",
            three,
            "  <memory unit='GiB'>3</memory>\n  <currentMemory>3145728</currentMemory>\n",
        );
        check(
            "  <memory unit='GiB'>2</memory>\n",
            |definition| definition.with_memory(Bytes((1 << 20) + 1)),
            "  <memory unit='KiB'>2048</memory>\n",
        );
        assert!(definition("<memory>1048576</memory>").with_memory(Bytes(0)).is_err());
    }
}
