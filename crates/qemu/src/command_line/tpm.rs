//! TPM: `-chardev` to its swtpm, `-tpmdev`, `-device`. It never starts swtpm; [`crate::process::swtpm`] does.

use domain::TpmModel;

use super::character::SOCKET_PATH_BYTES_MAX;
use super::switch::{Device, Plain, Properties};
use super::{CommandLine, CommandLineError, Launch};

/// Name of swtpm's socket within the run directory.
pub const SWTPM_SOCKET: &str = "swtpm.sock";

pub(super) fn push(line: &mut CommandLine, launch: &Launch<'_>) -> Result<(), CommandLineError> {
    for tpm in &launch.domain.tpms {
        let socket = launch.run_directory.join(SWTPM_SOCKET);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(CommandLineError::SocketPath { path: socket, limit: SOCKET_PATH_BYTES_MAX });
        }
        let chardev = Properties::new("socket").with("id", "chardev-tpm").with_os("path", socket.as_os_str());
        line.push(&Plain("-chardev", &chardev.to_string()));
        line.push(&Plain("-tpmdev", "emulator,id=tpmdev-0,chardev=chardev-tpm"));
        let driver = match tpm.model {
            TpmModel::Tis => "tpm-tis",
            TpmModel::Crb => "tpm-crb",
        };
        line.push(&Device(Properties::new(driver).with("tpmdev", "tpmdev-0").with("id", "tpm-0")));
    }
    Ok(())
}
