//! Serial and parallel ports, consoles, channels and redirected USB devices: `-chardev` for the host's end, `-device` for the guest's.

use std::ffi::OsString;
use std::path::PathBuf;

use domain::{
    CharacterBackend, CharacterOptions, ConsoleTarget, Endpoint, SerialTarget, SocketMode,
    VirtioSerialAddress,
};

use super::display::usb_place;
use super::pci::{explicit, place, virtio_serial_id};
use super::switch::{Device, Properties, Switch, text};
use super::{CommandLine, CommandLineError, Launch};

/// Longest path of a Unix socket in bytes (unix(7): `sun_path` holds 108, one is the end).
pub(super) const SOCKET_PATH_BYTES_MAX: usize = 107;

/// `-chardev`.
#[derive(Clone, Debug)]
pub struct Chardev<'a> {
    /// Id.
    pub id: &'a str,
    /// The host's end.
    pub backend: &'a CharacterBackend,
    /// What else is said of it.
    pub options: &'a CharacterOptions,
    /// Path of a listening socket that the definition leaves open.
    pub default_socket: PathBuf,
}

impl Chardev<'_> {
    fn check(&self) -> Result<(), CommandLineError> {
        if let CharacterBackend::Unix { path, mode: _ } = self.backend {
            let path = path.as_ref().unwrap_or(&self.default_socket);
            if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
                return Err(CommandLineError::SocketPath {
                    path: path.clone(),
                    limit: SOCKET_PATH_BYTES_MAX,
                });
            }
        }
        Ok(())
    }
}

impl Switch for Chardev<'_> {
    fn name(&self) -> &'static str {
        "-chardev"
    }

    fn value(&self) -> Option<OsString> {
        let begin = |kind| Properties::new(kind).with("id", self.id);
        let value = match self.backend {
            CharacterBackend::Pty => begin("pty"),
            CharacterBackend::Null => begin("null"),
            CharacterBackend::Device(path) => {
                let parallel = self.id.starts_with("parallel");
                begin(if parallel { "parallel" } else { "serial" }).with_os("path", path.as_os_str())
            }
            CharacterBackend::Pipe(path) => begin("pipe").with_os("path", path.as_os_str()),
            CharacterBackend::Tcp { mode, endpoint, telnet } => {
                let unspecified = match mode {
                    SocketMode::Bind => "0.0.0.0",
                    SocketMode::Connect => "localhost",
                };
                let host = endpoint.host.as_deref().unwrap_or(unspecified);
                let socket = begin("socket").with("host", host).with("port", text(endpoint.service));
                let socket = if *telnet { socket.with_switch("telnet", true) } else { socket };
                match mode {
                    SocketMode::Bind => socket.with_switch("server", true).with_switch("wait", false),
                    SocketMode::Connect => socket,
                }
            }
            CharacterBackend::SpiceVmc => {
                let redirdev = self.id.starts_with("redir");
                begin("spicevmc").with("name", if redirdev { "usbredir" } else { "vdagent" })
            }
            CharacterBackend::SpicePort(name) => begin("spiceport").with("name", name),
            CharacterBackend::Vdagent { clipboard, mouse } => {
                let agent =
                    begin("qemu-vdagent").with("name", "vdagent").with_switch("clipboard", *clipboard);
                match mouse {
                    Some(client) => agent.with_switch("mouse", *client),
                    None => agent,
                }
            }
            CharacterBackend::File { path, append } => {
                begin("file").with_os("path", path.as_os_str()).with_switch("append", *append)
            }
            CharacterBackend::Unix { path, mode } => {
                let path = path.as_ref().unwrap_or(&self.default_socket);
                let socket = begin("socket").with_os("path", path.as_os_str());
                match mode {
                    SocketMode::Bind => socket.with_switch("server", true).with_switch("wait", false),
                    SocketMode::Connect => socket.with_switch("server", false),
                }
            }
            CharacterBackend::Udp { connect, bind } => {
                let udp = begin("udp").with_some("host", connect.host.as_ref()).with("port", connect.service);
                match bind {
                    None => udp,
                    Some(Endpoint { host, service }) => {
                        udp.with_some("localaddr", host.as_ref()).with("localport", *service)
                    }
                }
            }
        };
        let value = value.with_some("reconnect-ms", self.options.reconnect_s.map(|s| u64::from(s) * 1000));
        let value = match &self.options.log {
            Some(log) => value.with_os("logfile", log.path.as_os_str()).with_switch("logappend", log.append),
            None => value,
        };
        Some(value.into_os_string())
    }
}

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    let domain = launch.domain;
    let mut push = |id: &str, backend, options, device: Properties| {
        let default_socket = launch.run_directory.join(format!("{id}.sock"));
        let chardev = Chardev { id, backend, options, default_socket };
        chardev.check()?;
        line.push(&chardev);
        line.push(&Device(device));
        Ok(())
    };
    let begin =
        |driver, id: &str| Properties::new(driver).with("chardev", id).with("id", format!("device-{id}"));
    for serial in &domain.serials {
        let id = format!("serial-{}", serial.port);
        let of = || format!("serial port {}", serial.port);
        let device = match serial.target {
            SerialTarget::Isa => begin("isa-serial", &id).with("index", serial.port),
            SerialTarget::Pci { address } => {
                place(begin("pci-serial", &id), explicit(address, of)?, domain.os.family)
            }
            SerialTarget::Usb { address } => usb_place(begin("usb-serial", &id), address, of)?,
            SerialTarget::IsaDebug => begin("isa-debugcon", &id),
        };
        push(&id, &serial.backend, &serial.options, device)?;
    }
    for parallel in &domain.parallels {
        let id = format!("parallel-{}", parallel.port);
        let device = begin("isa-parallel", &id).with("index", parallel.port);
        push(&id, &parallel.backend, &parallel.options, device)?;
    }
    for (number, console) in domain.consoles.iter().enumerate() {
        match console.target {
            ConsoleTarget::Serial => {}
            ConsoleTarget::Virtio => {
                let id = format!("console-{number}");
                let address = virtio_place(console.address, || format!("console {number}"))?;
                let device = on_virtio_serial(begin("virtconsole", &id), address);
                push(&id, &console.backend, &console.options, device)?;
            }
        }
    }
    for (number, channel) in domain.channels.iter().enumerate() {
        let id = format!("channel-{number}");
        let address = virtio_place(channel.address, || format!("channel {}", channel.name))?;
        let name = Some(channel.name.as_str()).filter(|name| !name.is_empty());
        let device = on_virtio_serial(begin("virtserialport", &id), address).with_some("name", name);
        push(&id, &channel.backend, &channel.options, device)?;
    }
    for (number, redirdev) in domain.redirdevs.iter().enumerate() {
        let id = format!("redir-{number}");
        let of = || format!("redirected USB device {}", number + 1);
        let device = begin("usb-redir", &id).with_some("filter", redirdev.filter.as_deref());
        let device = device.with_some("bootindex", redirdev.boot_order);
        push(&id, &redirdev.backend, &redirdev.options, usb_place(device, redirdev.address, of)?)?;
    }
    Ok(())
}

fn on_virtio_serial(device: Properties, address: VirtioSerialAddress) -> Properties {
    let bus = format!("{}.{}", virtio_serial_id(address.controller), address.bus);
    device.with("bus", bus).with("nr", address.port)
}

fn virtio_place(
    address: Option<VirtioSerialAddress>,
    of: impl FnOnce() -> String,
) -> Result<VirtioSerialAddress, CommandLineError> {
    address.ok_or_else(|| CommandLineError::NotFrozen { what: "virtio-serial address", of: of() })
}
