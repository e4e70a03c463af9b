//! `<graphics>`, `<video>`, `<input>`: screen, its adapter, keyboard and pointer. It never opens a port.

use crate::address::{PciAddress, UsbAddress};
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
