//! Serial ports, consoles and channels: `-chardev` for the host's end, `-device` for the guest's.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use domain::{CharacterBackend, ConsoleTarget, Endpoint, SocketMode, VirtioSerialAddress};

use super::pci::virtio_serial_id;
use super::switch::{Properties, Switch};
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
        Some(value.into_os_string())
    }
}

/// `-device` for the guest's end.
#[derive(Clone, Debug)]
pub enum CharacterDevice<'a> {
    /// `isa-serial`.
    Serial {
        /// Also the chardev's.
        id: &'a str,
        /// From 0.
        port: u32,
    },
    /// `virtconsole`.
    Console {
        /// Also the chardev's.
        id: &'a str,
        /// Place on a virtio-serial controller.
        address: VirtioSerialAddress,
    },
    /// `virtserialport`.
    Channel {
        /// Also the chardev's.
        id: &'a str,
        /// Place on a virtio-serial controller.
        address: VirtioSerialAddress,
        /// How the guest finds it.
        name: &'a str,
    },
}

impl Switch for CharacterDevice<'_> {
    fn name(&self) -> &'static str {
        "-device"
    }

    fn value(&self) -> Option<OsString> {
        let begin =
            |driver, id: &str| Properties::new(driver).with("chardev", id).with("id", format!("device-{id}"));
        let on = |value: Properties, address: &VirtioSerialAddress| {
            let bus = format!("{}.{}", virtio_serial_id(address.controller), address.bus);
            value.with("bus", bus).with("nr", address.port)
        };
        let value = match self {
            Self::Serial { id, port } => begin("isa-serial", id).with("index", *port),
            Self::Console { id, address } => on(begin("virtconsole", id), address),
            Self::Channel { id, address, name } => {
                on(begin("virtserialport", id), address).with("name", *name)
            }
        };
        Some(value.into_os_string())
    }
}

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    let domain = launch.domain;
    let directory = launch.run_directory;
    for serial in &domain.serials {
        let id = format!("serial-{}", serial.port);
        push_chardev(line, &id, &serial.backend, directory)?;
        line.push(&CharacterDevice::Serial { id: &id, port: serial.port });
    }
    for (place, console) in domain.consoles.iter().enumerate() {
        match console.target {
            ConsoleTarget::Serial => {}
            ConsoleTarget::Virtio => {
                let id = format!("console-{place}");
                let address = virtio_place(console.address, || format!("console {place}"))?;
                push_chardev(line, &id, &console.backend, directory)?;
                line.push(&CharacterDevice::Console { id: &id, address });
            }
        }
    }
    for (place, channel) in domain.channels.iter().enumerate() {
        let id = format!("channel-{place}");
        let address = virtio_place(channel.address, || format!("channel {}", channel.name))?;
        push_chardev(line, &id, &channel.backend, directory)?;
        line.push(&CharacterDevice::Channel { id: &id, address, name: &channel.name });
    }
    Ok(())
}

fn push_chardev(
    line: &mut CommandLine,
    id: &str,
    backend: &CharacterBackend,
    directory: &Path,
) -> Result<(), CommandLineError> {
    let chardev = Chardev { id, backend, default_socket: directory.join(format!("{id}.sock")) };
    chardev.check()?;
    line.push(&chardev);
    Ok(())
}

fn virtio_place(
    address: Option<VirtioSerialAddress>,
    of: impl FnOnce() -> String,
) -> Result<VirtioSerialAddress, CommandLineError> {
    address.ok_or_else(|| CommandLineError::NotFrozen { what: "virtio-serial address", of: of() })
}
