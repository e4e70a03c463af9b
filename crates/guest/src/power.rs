//! The ACPI power button, read as Linux input events (`struct input_event`, linux/input.h).
//!
//! ```text
//! seconds, microseconds: 8 bytes each | type: 2 bytes | code: 2 bytes | value: 4 bytes     (x86-64, little-endian)
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::{Work, say, start};

const EVENT_BYTES: usize = 24;
const EV_KEY: u16 = 1;
const KEY_POWER: u16 = 116;

/// Starts a thread for every power button; a press ends the program once the disk holds all records.
pub(crate) fn watch(work: &Arc<Work>) {
    let buttons = match buttons() {
        Ok(buttons) => buttons,
        Err(error) => return say(&format!("no power button: {error}")),
    };
    if buttons.is_empty() {
        say("no power button: no input device has this name");
    }
    for button in buttons {
        start(work, move |work| match wait_for_press(button) {
            Ok(()) => {
                say("power button pressed");
                power_off(work)
            }
            Err(error) => say(&format!("the power button cannot be read: {error}")),
        });
    }
}

fn buttons() -> io::Result<Vec<File>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/class/input")? {
        let entry = entry?;
        let name = entry.file_name();
        let is_button = fs::read_to_string(entry.path().join("device/name"))
            .is_ok_and(|device| device.trim() == "Power Button");
        if is_button && name.to_string_lossy().starts_with("event") {
            found.push(File::open(Path::new("/dev/input").join(name))?);
        }
    }
    Ok(found)
}

fn wait_for_press(mut button: File) -> io::Result<()> {
    let mut event = [0; EVENT_BYTES];
    loop {
        button.read_exact(&mut event)?;
        let kind = u16::from_le_bytes([event[16], event[17]]);
        let code = u16::from_le_bytes([event[18], event[19]]);
        let value = u32::from_le_bytes([event[20], event[21], event[22], event[23]]);
        if (kind, code, value) == (EV_KEY, KEY_POWER, 1) {
            return Ok(());
        }
    }
}

/// Ends the program, and with it the machine, once the disk holds all records.
pub(crate) fn power_off(work: &Work) -> ! {
    match work.close() {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            say(&format!("the records cannot be synced: {error}"));
            std::process::exit(1);
        }
    }
}
