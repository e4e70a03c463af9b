//! `<input>`: keyboard and pointer. It never opens a device of the host.

use crate::address::{PciAddress, UsbAddress};
use crate::reader::{Node, Reader};
use crate::usb::usb_address;
use crate::word::words;

/// `<input>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// What it is.
    pub kind: InputKind,
    /// How it is attached.
    pub bus: InputBus,
    /// `<address type='pci'>`, only for [`InputBus::Virtio`].
    pub address: Option<PciAddress>,
    /// `<address type='usb'>`, only for [`InputBus::Usb`].
    pub usb_address: Option<UsbAddress>,
}

words! {
    /// What an input device is.
    pub enum InputKind {
        /// A pointer with absolute coordinates (`usb-tablet`, `virtio-tablet-pci`).
        Tablet = "tablet",
        /// A pointer with relative coordinates (`usb-mouse`, `virtio-mouse-pci`).
        Mouse = "mouse",
        /// `usb-kbd`, `virtio-keyboard-pci`.
        Keyboard = "keyboard",
    }
}

words! {
    /// How an input device is attached.
    pub enum InputBus {
        /// On a USB controller; the default for a tablet.
        Usb = "usb",
        /// On the PC's own controller: part of the machine. The default for mouse and keyboard.
        Ps2 = "ps2",
        /// A PCI device.
        Virtio = "virtio",
    }
}

impl Input {
    /// Reads `<input>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Input> {
        reader.vocabulary(node, &["type", "bus"], &["source", "alias", "address"]);
        reader.required(node, "type", "write type='tablet', type='mouse' or type='keyboard'")?;
        if let Some(kind @ ("evdev" | "passthrough")) = node.attribute("type") {
            let message = format!("`{kind}` is a device of this host, and cannot move with the guest");
            reader.refuse_attribute(node, "type", message, "remove it");
            return None;
        }
        let kind = reader.word(node, "type");
        let default = match kind {
            Some(InputKind::Tablet) => InputBus::Usb,
            Some(InputKind::Mouse | InputKind::Keyboard) | None => InputBus::Ps2,
        };
        let bus = if node.has_attribute("bus") { reader.word(node, "bus")? } else { default };
        let mut input = Input { kind: kind?, bus, address: None, usb_address: None };
        match bus {
            InputBus::Usb => input.usb_address = usb_address(reader, node),
            InputBus::Virtio => input.address = reader.pci_address(node),
            InputBus::Ps2 => {
                if input.kind == InputKind::Tablet {
                    reader.refuse_attribute(node, "bus", "there is no PS/2 tablet", "write bus='usb'");
                }
                if let Some(address) = reader.child(node, "address") {
                    reader.refuse(address, "a PS/2 device has no address", "remove the <address>");
                }
            }
        }
        Some(input)
    }
}
