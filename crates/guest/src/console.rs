//! The guest's second serial port: what is typed there is answered, line by line, and some lines are orders. Without
//! that port nothing happens.
//!
//! ```text
//! devices    the disks and network cards that the kernel has
//! panic      a kernel panic, by /proc/sysrq-trigger
//! NAME       "guest: heard NAME"
//! ```

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};

const PORT: &str = "/dev/ttyS1";

pub(crate) fn serve() {
    // Linux has a node for ports that are not there; the first read or write of such a one fails.
    let _ = talk();
}

fn talk() -> io::Result<()> {
    let mut port = File::options().read(true).write(true).open(PORT)?;
    writeln!(port, "guest: listening")?;
    for line in BufReader::new(port.try_clone()?).lines() {
        match line?.trim() {
            "devices" => writeln!(port, "guest: has {}", devices()?.join(" "))?,
            "panic" => fs::write("/proc/sysrq-trigger", "c")?,
            other => writeln!(port, "guest: heard {other}")?,
        }
    }
    Ok(())
}

/// Names of disks with their sizes in bytes, and MAC addresses, in order.
fn devices() -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Sectors of 512 bytes, whatever the disk's own are.
        let sectors: u64 = fs::read_to_string(path.join("size"))?.trim().parse().unwrap_or(0);
        if sectors > 0 {
            found.push(format!("{name}={}", sectors * 512));
        }
    }
    for entry in fs::read_dir("/sys/class/net")? {
        let mac = fs::read_to_string(entry?.path().join("address"))?;
        found.push(mac.trim().to_owned());
    }
    found.sort();
    Ok(found)
}
