//! `<graphics>`, `<video>`, `<input>`: screen, its adapter, keyboard and pointer. It never opens a port.

use crate::address::{PciAddress, UsbAddress};
use crate::reader::{Node, Reader};
use crate::word::words;

/// `<graphics type='vnc'>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Graphics {
    /// TCP port, 5900 or above; none: a free one is taken at start (`autoport`).
    pub port: Option<u16>,
    /// Address to listen on; `127.0.0.1` where not written.
    pub listen: String,
    /// `keymap`: QEMU's `-k`.
    pub keymap: Option<String>,
}

/// `<video>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// What the guest sees.
    pub model: VideoModel,
    /// `vram`: video memory in KiB, a power of two of at least 1024, only for [`VideoModel::Vga`] (QEMU's
    /// `vgamem_mb`); none leaves QEMU's default (16384), and the other models have none here.
    pub vram_kib: Option<u32>,
    /// `heads`: outputs, only for [`VideoModel::Virtio`] (QEMU's `max_outputs`); 1 where not written.
    pub heads: u32,
    /// `<address type='pci'>`; none for [`VideoModel::None`].
    pub address: Option<PciAddress>,
}

words! {
    /// What the guest sees as its graphics adapter.
    pub enum VideoModel {
        /// QEMU's `virtio-vga`, since it is the primary adapter.
        Virtio = "virtio",
        /// QEMU's standard VGA (`VGA`).
        Vga = "vga",
        /// No adapter.
        None = "none",
    }
}

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

impl Graphics {
    /// Reads `<graphics>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Graphics> {
        reader.required(node, "type", "write type='vnc'")?;
        reader.only(node, "type", &["vnc"], "write type='vnc', or remove the <graphics>");
        if node.attribute("type") != Some("vnc") {
            return None;
        }
        reader.vocabulary(node, &["type", "port", "autoport", "listen", "keymap"], &["listen"]);
        let autoport = reader.flag(node, "autoport", "yes", "no").unwrap_or(false);
        let keymap = node.attribute("keymap");
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if let Some(keymap) = keymap
            && (keymap.is_empty() || !keymap.bytes().all(plain))
        {
            let message = format!("`{keymap}` is not a name of a key map");
            reader.refuse_attribute(
                node,
                "keymap",
                message,
                "write one of QEMU's, like `en-us`, or remove it",
            );
        }
        Some(Graphics {
            // A running domain's definition holds the port that was found, beside autoport='yes'.
            port: if autoport { None } else { port(reader, node) },
            listen: listen(reader, node),
            keymap: keymap.map(str::to_owned),
        })
    }
}

fn port<'a>(reader: &mut Reader<'a>, graphics: Node<'a>) -> Option<u16> {
    if matches!(graphics.attribute("port"), Some("-1")) {
        return None;
    }
    reader.number(graphics, "port", 5900..=65535).and_then(|port| u16::try_from(port).ok())
}

/// The address is an attribute, a child element, or both with the same value.
fn listen<'a>(reader: &mut Reader<'a>, graphics: Node<'a>) -> String {
    let mut listen = graphics.attribute("listen");
    if let Some(node) = reader.child(graphics, "listen") {
        reader.vocabulary(node, &["type", "address"], &[]);
        reader.only(node, "type", &["address"], "write type='address' and an `address`");
        let address = node.attribute("address");
        if address.is_some() && listen.is_some() && address != listen {
            let message = "the address is not the same as `listen` of <graphics>";
            reader.refuse_attribute(node, "address", message, "keep one of the two");
        }
        listen = address.or(listen);
    }
    let listen = listen.unwrap_or("127.0.0.1");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if listen.is_empty() || !listen.bytes().all(plain) {
        let message = format!("`{listen}` is not an address to listen on");
        reader.refuse(graphics, message, "write an IP address or a host name");
    }
    listen.to_owned()
}

impl Video {
    /// Reads `<video>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Video> {
        reader.vocabulary(node, &[], &["model", "alias", "address"]);
        let address = reader.pci_address(node);
        let model_node = reader.required_child(node, "model", "add <model type='virtio'/>")?;
        reader.vocabulary(model_node, &["type", "heads", "primary", "vram"], &["acceleration"]);
        reader.required(model_node, "type", "write type='virtio'")?;
        if let Some(acceleration) = reader.child(model_node, "acceleration") {
            reader.vocabulary(acceleration, &["accel3d", "accel2d"], &[]);
            reader.only(acceleration, "accel3d", &["no"], "write accel3d='no': 3D state cannot be moved");
        }
        reader.only(model_node, "primary", &["yes"], "remove `primary`: the only adapter is the primary one");
        let model = reader.word(model_node, "type")?;
        let mut video = Video { model, vram_kib: None, heads: 1, address };
        match model {
            VideoModel::Virtio => video.heads = reader.number(model_node, "heads", 1..=16).unwrap_or(1),
            VideoModel::Vga => {
                reader.only(model_node, "heads", &["1"], "remove `heads`: this adapter has one output");
                video.vram_kib = vram(reader, model_node);
            }
            VideoModel::None => {
                if address.is_some() {
                    reader.refuse(node, "no adapter, but an address", "remove the <address>");
                }
            }
        }
        Some(video)
    }
}

fn vram<'a>(reader: &mut Reader<'a>, model: Node<'a>) -> Option<u32> {
    let vram = reader.number(model, "vram", 1024..=524_288)?;
    if !vram.is_power_of_two() {
        let message = format!("{vram} KiB of video memory is not a power of two");
        reader.refuse_attribute(model, "vram", message, "write 16384, or remove `vram`");
    }
    Some(vram)
}

impl Input {
    /// Reads `<input>`.
    pub(crate) fn read<'a>(reader: &mut Reader<'a>, node: Node<'a>) -> Option<Input> {
        reader.vocabulary(node, &["type", "bus"], &["alias", "address"]);
        reader.required(node, "type", "write type='tablet', type='mouse' or type='keyboard'")?;
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

fn usb_address<'a>(reader: &mut Reader<'a>, input: Node<'a>) -> Option<UsbAddress> {
    let node = reader.child(input, "address")?;
    reader.vocabulary(node, &["type", "bus", "port"], &[]);
    reader.only(node, "type", &["usb"], "remove the <address>: a USB address is assigned");
    reader.required(node, "port", "write `port`, or remove the <address>")?;
    let bus = if node.has_attribute("bus") { reader.number(node, "bus", 0..=255)? } else { 0 };
    Some(UsbAddress { bus, port: reader.number(node, "port", 1..=15)? })
}
