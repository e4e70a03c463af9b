//! Screen, sound, keyboard and pointer, and what else sits on USB: `-vnc`, `-spice`, `-k`, video, sound, input, hubs.

use std::ffi::OsString;
use std::path::Path;

use domain::{
    Audio, Domain, Graphics, Input, InputBus, InputKind, Listen, MachineFamily, Protocol, Sound, SoundCodec,
    SoundModel, UsbAddress, Video, VideoModel, Websocket,
};

use super::pci::{explicit, place, usb_id};
use super::switch::{Device, Plain, Properties, Switch, text};
use super::{CommandLine, CommandLineError, Launch};

/// TCP port of VNC display 0 (RFC 6143, section 4).
const VNC_PORT_FIRST: u16 = 5900;

/// Highest display that is tried where the definition leaves the port open.
const VNC_DISPLAY_LAST: u16 = 999;

/// Id of the host's end of all sound.
const AUDIODEV: &str = "audio-0";

/// `-vnc` or `-spice`.
#[derive(Clone, Debug)]
pub struct Screen {
    name: &'static str,
    value: Properties,
}

impl Screen {
    fn new(graphics: &Graphics, launch: &Launch<'_>) -> Result<Self, CommandLineError> {
        let sound = !launch.domain.sounds.is_empty();
        match &graphics.protocol {
            Protocol::Vnc { websocket, share, power_control } => {
                let socket = launch.run_directory.join("vnc.sock");
                let mut value = vnc(graphics, &socket);
                match websocket {
                    Some(Websocket::Auto) => value = value.with_switch("websocket", true),
                    Some(Websocket::Port(port)) => value = value.with("websocket", *port),
                    None => {}
                }
                value = value.with_some("share", share.map(|share| share.as_str()));
                if let Some(on) = power_control {
                    value = value.with_switch("power-control", *on);
                }
                let value = if sound { value.with("audiodev", AUDIODEV) } else { value };
                Ok(Self { name: "-vnc", value })
            }
            Protocol::Spice { options } => {
                let value = match &graphics.listen {
                    Listen::Address(address) => {
                        let port = graphics.port.or(launch.spice_port);
                        let port = port.ok_or(CommandLineError::NoSpicePort)?;
                        Properties::new("").with("port", port).with("addr", address)
                    }
                    Listen::Socket(Some(path)) => unix(path),
                    Listen::Socket(None) | Listen::None => unix(&launch.run_directory.join("spice.sock")),
                };
                let value = value.with_switch("disable-ticketing", true);
                let value = options.iter().fold(value, |value, (name, it)| value.with(name, it));
                Ok(Self { name: "-spice", value })
            }
        }
    }
}

fn unix(path: &Path) -> Properties {
    Properties::new("").with_switch("unix", true).with_os("addr", path.as_os_str())
}

fn vnc(graphics: &Graphics, socket: &Path) -> Properties {
    let listen = match &graphics.listen {
        Listen::Address(listen) => listen,
        Listen::Socket(path) => {
            let path = path.as_deref().unwrap_or(socket);
            return Properties::new(&format!("unix:{}", path.display()));
        }
        Listen::None => return Properties::new("none"),
    };
    let host = if listen.contains(':') { format!("[{listen}]") } else { listen.clone() };
    match graphics.port {
        Some(port) => Properties::new(&format!("{host}:{}", port.saturating_sub(VNC_PORT_FIRST))),
        None => Properties::new(&format!("{host}:0")).with("to", VNC_DISPLAY_LAST),
    }
}

impl Switch for Screen {
    fn name(&self) -> &'static str {
        self.name
    }

    fn value(&self) -> Option<OsString> {
        Some(self.value.clone().into_os_string())
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

/// A graphics adapter. `number` counts from 0, the primary adapter.
fn video(video: &Video, number: usize, family: MachineFamily) -> Result<Option<Device>, CommandLineError> {
    const KIB: u32 = 1024;
    let primary = number == 0;
    let begin = |driver| Properties::new(driver).with("id", format!("video-{number}"));
    let vram_mib = video.vram_kib.map(|kib| kib / KIB);
    let device = match video.model {
        VideoModel::Virtio => {
            begin(if primary { "virtio-vga" } else { "virtio-gpu-pci" }).with("max_outputs", video.heads)
        }
        VideoModel::Vga => begin("VGA").with_some("vgamem_mb", vram_mib),
        VideoModel::Bochs => begin("bochs-display").with_some("vgamem", video.vram_kib.map(|kib| kib * KIB)),
        VideoModel::Cirrus => begin("cirrus-vga"),
        // The sizes are libvirt's, which are QEMU's too, except that of the second window.
        VideoModel::Qxl => begin(if primary { "qxl-vga" } else { "qxl" })
            .with("max_outputs", video.heads)
            .with("ram_size", video.ram_kib.unwrap_or(65_536) * KIB)
            .with("vram_size", video.vram_kib.unwrap_or(65_536) * KIB)
            .with("vram64_size_mb", video.vram64_kib.unwrap_or(0) / KIB)
            .with("vgamem_mb", video.vgamem_kib.unwrap_or(16_384) / KIB),
        VideoModel::Ramfb => return Ok(Some(Device(begin("ramfb")))),
        VideoModel::None => return Ok(None),
    };
    let (width, height) = video.resolution.unzip();
    let device = device.with_some("xres", width).with_some("yres", height);
    let address = explicit(video.address, || format!("video adapter {}", number + 1))?;
    Ok(Some(Device(place(device, address, family))))
}

/// A sound card, and its codecs where it has some.
fn sound(sound: &Sound, number: usize, family: MachineFamily) -> Result<Vec<Device>, CommandLineError> {
    let id = format!("sound-{number}");
    let of = || format!("sound card {}", number + 1);
    let begin = |driver| Properties::new(driver).with("id", &id);
    let on_pci = |device| Ok::<_, CommandLineError>(place(device, explicit(sound.address, of)?, family));
    let heard = |driver| begin(driver).with("audiodev", AUDIODEV);
    Ok(match sound.model {
        SoundModel::Ich6 | SoundModel::Ich9 => {
            let ich6 = sound.model == SoundModel::Ich6;
            let card = on_pci(begin(if ich6 { "intel-hda" } else { "ich9-intel-hda" }))?;
            let usual = [SoundCodec::Duplex];
            let codecs = if sound.codecs.is_empty() { &usual } else { sound.codecs.as_slice() };
            let codecs = codecs.iter().zip(0_u32..).map(|(codec, place)| {
                let driver = match codec {
                    SoundCodec::Duplex => "hda-duplex",
                    SoundCodec::Micro => "hda-micro",
                    SoundCodec::Output => "hda-output",
                };
                let codec = Properties::new(driver).with("id", format!("{id}-codec-{place}"));
                Device(codec.with("bus", format!("{id}.0")).with("cad", place).with("audiodev", AUDIODEV))
            });
            std::iter::once(Device(card)).chain(codecs).collect()
        }
        SoundModel::Ac97 => vec![Device(on_pci(heard("AC97"))?)],
        SoundModel::Es1370 => vec![Device(on_pci(heard("ES1370"))?)],
        SoundModel::Sb16 => vec![Device(heard("sb16"))],
        SoundModel::Usb => vec![Device(usb_place(heard("usb-audio"), sound.usb_address, of)?)],
    })
}

/// A keyboard or pointer; none for those that the PC has itself.
fn input(input: &Input, number: usize, family: MachineFamily) -> Result<Option<Device>, CommandLineError> {
    let of = || format!("input {}", number + 1);
    let begin = |driver| Properties::new(driver).with("id", format!("input-{number}"));
    let device = match input.bus {
        InputBus::Ps2 => return Ok(None),
        InputBus::Usb => {
            let driver = match input.kind {
                InputKind::Tablet => "usb-tablet",
                InputKind::Mouse => "usb-mouse",
                InputKind::Keyboard => "usb-kbd",
            };
            usb_place(begin(driver), input.usb_address, of)?
        }
        InputBus::Virtio => {
            let driver = match input.kind {
                InputKind::Tablet => "virtio-tablet-pci",
                InputKind::Mouse => "virtio-mouse-pci",
                InputKind::Keyboard => "virtio-keyboard-pci",
            };
            place(begin(driver), explicit(input.address, of)?, family)
        }
    };
    Ok(Some(Device(device)))
}

/// `,bus=…,port=…` on USB.
pub(super) fn usb_place(
    device: Properties,
    address: Option<UsbAddress>,
    of: impl FnOnce() -> String,
) -> Result<Properties, CommandLineError> {
    let at = address.ok_or_else(|| CommandLineError::NotFrozen { what: "USB address", of: of() })?;
    Ok(device.with("bus", format!("{}.0", usb_id(at.bus))).with("port", text(at.port)))
}

/// USB hubs, one before what is behind it.
pub(super) fn push_hubs(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    let mut hubs: Vec<_> = domain.hubs.iter().enumerate().collect();
    hubs.sort_by_key(|(_, hub)| hub.address);
    for (number, hub) in hubs {
        let device = Properties::new("usb-hub").with("id", format!("hub-{number}"));
        line.push(&Device(usb_place(device, hub.address, || format!("USB hub {}", number + 1))?));
    }
    Ok(())
}

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    let domain = launch.domain;
    let family = domain.os.family;
    let spice = domain.graphics.iter().any(|it| matches!(it.protocol, Protocol::Spice { .. }));
    if !domain.sounds.is_empty() {
        let usual = if spice { Audio::Spice } else { Audio::None };
        let driver = domain.audio.unwrap_or(usual).as_str();
        line.push(&Plain("-audiodev", &Properties::new(driver).with("id", AUDIODEV).to_string()));
    }
    for graphics in &domain.graphics {
        line.push(&Screen::new(graphics, launch)?);
    }
    if let Some(name) = domain.graphics.iter().find_map(|graphics| graphics.keymap.as_deref()) {
        line.push(&Keymap { name });
    }
    for (number, it) in domain.videos.iter().enumerate() {
        if let Some(device) = video(it, number, family)? {
            line.push(&device);
        }
    }
    for (number, it) in domain.sounds.iter().enumerate() {
        for device in sound(it, number, family)? {
            line.push(&device);
        }
    }
    for (number, it) in domain.inputs.iter().enumerate() {
        if let Some(device) = input(it, number, family)? {
            line.push(&device);
        }
    }
    Ok(())
}
