//! What a definition needs and an emulator lacks: device types, by the very command line. It never concludes anything
//! from a version. The main function is [`missing_devices`].

use std::collections::BTreeSet;
use std::path::Path;

use domain::{Domain, Protocol};
use jiff::Zoned;

use super::{CommandLine, CommandLineError, Launch};
use crate::accelerator::Accelerator;
use crate::capabilities::Capabilities;

/// A device type that an emulator lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingDevice {
    /// QEMU's name of it, or `spice`.
    pub device: String,
    /// What to do.
    pub mend: &'static str,
}

/// What a frozen definition needs and the emulator lacks, in order.
///
/// # Errors
///
/// There is no command line for the definition.
pub fn missing_devices(
    domain: &Domain,
    capabilities: &Capabilities,
) -> Result<Vec<MissingDevice>, CommandLineError> {
    let line = CommandLine::new(&Launch {
        domain,
        accelerator: Accelerator::Tcg,
        cpu: Some("max"),
        run_directory: Path::new("/"),
        taps: &vec![String::new(); domain.interfaces.len()],
        spice_port: Some(1),
        now: &Zoned::default(),
        vhost: false,
        incoming: false,
    })?;
    let mut missing: BTreeSet<String> =
        line.devices().into_iter().filter(|device| !capabilities.has_device(device)).collect();
    let spice = domain.graphics.iter().any(|it| matches!(it.protocol, Protocol::Spice { .. }));
    if spice && !capabilities.has_chardev("spicevmc") {
        missing.insert("spice".to_owned());
    }
    let described = missing.into_iter().map(|device| MissingDevice { mend: mend(&device), device });
    Ok(described.collect())
}

fn mend(device: &str) -> &'static str {
    match device {
        "spice" => {
            "write <graphics type='vnc'/> and remove what goes through SPICE (`spicevmc` channels, <redirdev>, \
             <audio type='spice'>), or install QEMU's SPICE modules (qemu-system-modules-spice)"
        }
        "qxl" | "qxl-vga" => {
            "write <model type='virtio'/> into <video>, or install QEMU's SPICE modules \
             (qemu-system-modules-spice)"
        }
        "usb-redir" => "remove the <redirdev>, or install a QEMU that has it",
        _ => "remove the device from the definition, or install a QEMU that has it",
    }
}
