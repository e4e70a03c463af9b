//! Screen, keyboard and pointer: `-vnc`, `-k`, video and input devices.

use std::ffi::OsString;

use domain::{Domain, Graphics, Input, InputBus, InputKind, MachineFamily, Video, VideoModel};

use super::pci::{explicit, place, usb_id};
use super::switch::{Properties, Switch};
use super::{CommandLine, CommandLineError};

/// TCP port of VNC display 0 (RFC 6143, section 4).
const VNC_PORT_FIRST: u16 = 5900;

/// Highest display that is tried where the definition leaves the port open.
const VNC_DISPLAY_LAST: u16 = 999;

/// `-vnc`.
#[derive(Clone, Copy, Debug)]
pub struct Vnc<'a> {
    /// Where.
    pub graphics: &'a Graphics,
}

impl Switch for Vnc<'_> {
    fn name(&self) -> &'static str {
        "-vnc"
    }

    fn value(&self) -> Option<OsString> {
        let listen = &self.graphics.listen;
        let host = if listen.contains(':') { format!("[{listen}]") } else { listen.clone() };
        let value = match self.graphics.port {
            Some(port) => Properties::new(&format!("{host}:{}", port.saturating_sub(VNC_PORT_FIRST))),
            None => Properties::new(&format!("{host}:0")).with("to", VNC_DISPLAY_LAST),
        };
        Some(value.into_os_string())
    }
}

/// `-k`.
#[derive(Clone, Copy, Debug)]
pub struct Keymap<'a> {
    /// QEMU's name of it.
    pub name: &'a str,
}

impl Switch for Keymap<'_> {
    fn name(&self) -> &'static str {
        "-k"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.name.into())
    }
}

/// `-device` for a graphics adapter.
#[derive(Clone, Debug)]
pub struct VideoDevice {
    value: Properties,
}

impl VideoDevice {
    fn new(video: &Video, family: MachineFamily) -> Result<Option<Self>, CommandLineError> {
        const KIB_PER_MIB: u32 = 1024;
        let device = match video.model {
            VideoModel::Virtio => {
                Properties::new("virtio-vga").with("id", "video-0").with("max_outputs", video.heads)
            }
            VideoModel::Vga => Properties::new("VGA")
                .with("id", "video-0")
                .with_some("vgamem_mb", video.vram_kib.map(|kib| kib / KIB_PER_MIB)),
            VideoModel::None => return Ok(None),
        };
        let address = explicit(video.address, || "the video adapter".to_owned())?;
        Ok(Some(Self { value: place(device, address, family) }))
    }
}

impl Switch for VideoDevice {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.value.clone().into_os_string())
    }
}

/// `-device` for a keyboard or pointer.
#[derive(Clone, Debug)]
pub struct InputDevice {
    value: Properties,
}

impl InputDevice {
    fn new(input: &Input, number: usize, family: MachineFamily) -> Result<Option<Self>, CommandLineError> {
        let id = format!("input-{number}");
        let of = || format!("input {}", number + 1);
        let value = match input.bus {
            InputBus::Ps2 => return Ok(None),
            InputBus::Usb => {
                let driver = match input.kind {
                    InputKind::Tablet => "usb-tablet",
                    InputKind::Mouse => "usb-mouse",
                    InputKind::Keyboard => "usb-kbd",
                };
                let missing = || CommandLineError::NotFrozen { what: "USB address", of: of() };
                let at = input.usb_address.ok_or_else(missing)?;
                let bus = format!("{}.0", usb_id(at.bus));
                Properties::new(driver).with("id", id).with("bus", bus).with("port", at.port)
            }
            InputBus::Virtio => {
                let driver = match input.kind {
                    InputKind::Tablet => "virtio-tablet-pci",
                    InputKind::Mouse => "virtio-mouse-pci",
                    InputKind::Keyboard => "virtio-keyboard-pci",
                };
                place(Properties::new(driver).with("id", id), explicit(input.address, of)?, family)
            }
        };
        Ok(Some(Self { value }))
    }
}

impl Switch for InputDevice {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.value.clone().into_os_string())
    }
}

pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    let family = domain.os.family;
    for graphics in &domain.graphics {
        line.push(&Vnc { graphics });
        if let Some(name) = &graphics.keymap {
            line.push(&Keymap { name });
        }
    }
    for video in &domain.videos {
        if let Some(device) = VideoDevice::new(video, family)? {
            line.push(&device);
        }
    }
    for (number, input) in domain.inputs.iter().enumerate() {
        if let Some(device) = InputDevice::new(input, number, family)? {
            line.push(&device);
        }
    }
    Ok(())
}
