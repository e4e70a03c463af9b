//! Firmware and what it tells the guest: `-bios`, flash with code and variables, `-smbios`, `-fw_cfg`. It never makes the
//! file with the variables.

use std::ffi::OsString;
use std::path::Path;

use domain::{Domain, FlashFormat, FwCfgEntry, FwCfgValue, LoaderKind, SmbiosKind, SmbiosTable};
use serde_json::json;

use super::switch::{Plain, Properties, Switch};
use super::{CommandLine, CommandLineError};

/// Node of the flash with the firmware's code (`-machine pflash0=`).
pub(super) const CODE: &str = "pflash0";
/// Node of the flash with its variables (`-machine pflash1=`).
pub(super) const VARIABLES: &str = "pflash1";

/// Whether the machine has flash with code, and flash with variables.
pub(super) fn flash(domain: &Domain) -> (bool, bool) {
    let firmware = &domain.os.firmware;
    let code = firmware.loader.as_ref().is_some_and(|loader| loader.kind == LoaderKind::Pflash);
    (code, code && firmware.nvram.is_some())
}

/// Writes firmware before anything that refers to it.
pub(super) fn push(line: &mut CommandLine, domain: &Domain) -> Result<(), CommandLineError> {
    let firmware = &domain.os.firmware;
    let open = |what| CommandLineError::NotFrozen { what, of: format!("domain {}", domain.name) };
    if firmware.is_open() {
        return Err(open("firmware"));
    }
    if let Some(loader) = &firmware.loader {
        match loader.kind {
            LoaderKind::Rom => line.push(&Bios { path: &loader.path }),
            LoaderKind::Pflash => push_flash(line, CODE, &loader.path, loader.format, true),
        }
    }
    if let (_, true) = flash(domain)
        && let Some(nvram) = &firmware.nvram
    {
        let path = nvram.path.as_ref().ok_or_else(|| open("variables of the firmware"))?;
        push_flash(line, VARIABLES, path, nvram.format, false);
    }
    for table in &domain.system_information.smbios {
        line.push(&Smbios { table });
    }
    for entry in &domain.system_information.fw_cfg {
        line.push(&FwCfg { entry });
    }
    Ok(())
}

/// Two nodes, a file and its format, as for a disk.
fn push_flash(line: &mut CommandLine, node: &str, path: &Path, format: FlashFormat, read_only: bool) {
    let file = format!("{node}-file");
    let storage = json!({
        "driver": "file", "node-name": file, "filename": path, "read-only": read_only, "auto-read-only": false,
    });
    let format = json!({
        "driver": format.as_str(), "node-name": node, "file": file, "read-only": read_only,
    });
    line.push(&Plain("-blockdev", &storage.to_string()));
    line.push(&Plain("-blockdev", &format.to_string()));
}

/// `-bios`.
#[derive(Clone, Copy, Debug)]
pub struct Bios<'a> {
    /// On this host.
    pub path: &'a Path,
}

impl Switch for Bios<'_> {
    fn name(&self) -> &'static str {
        "-bios"
    }

    fn value(&self) -> Option<OsString> {
        Some(self.path.into())
    }
}

/// `-smbios`.
#[derive(Clone, Copy, Debug)]
pub struct Smbios<'a> {
    /// One table.
    pub table: &'a SmbiosTable,
}

impl Switch for Smbios<'_> {
    fn name(&self) -> &'static str {
        "-smbios"
    }

    fn value(&self) -> Option<OsString> {
        let kind: u8 = match self.table.kind {
            SmbiosKind::Bios => 0,
            SmbiosKind::System => 1,
            SmbiosKind::BaseBoard => 2,
            SmbiosKind::Chassis => 3,
            SmbiosKind::OemStrings => 11,
        };
        let table = Properties::new("").with("type", kind);
        let value = self.table.fields.iter().fold(table, |value, (name, field)| value.with(name, field));
        Some(value.into_os_string())
    }
}

/// `-fw_cfg`.
#[derive(Clone, Copy, Debug)]
pub struct FwCfg<'a> {
    /// One entry.
    pub entry: &'a FwCfgEntry,
}

impl Switch for FwCfg<'_> {
    fn name(&self) -> &'static str {
        "-fw_cfg"
    }

    fn value(&self) -> Option<OsString> {
        let value = Properties::new("").with("name", &self.entry.name);
        let value = match &self.entry.value {
            FwCfgValue::Text(text) => value.with("string", text),
            FwCfgValue::File(path) => value.with_os("file", path.as_os_str()),
        };
        Some(value.into_os_string())
    }
}
