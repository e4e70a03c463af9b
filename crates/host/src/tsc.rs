//! How fast this host's time stamp counter runs, as its kernel measured it at boot. It measures nothing itself. Main
//! function: [`tsc_khz`].

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::OnceLock;

use rustix::fs::OFlags;

/// The kernel's log (Documentation/ABI/testing/dev-kmsg): each read is one record.
const LOG: &str = "/dev/kmsg";
/// Longer records do not exist (`PRINTK_MESSAGE_MAX`).
const RECORD_BYTES_MAX: usize = 8192;

/// Ticks in a millisecond; none where the kernel's log does not go back to the boot, or may not be read. It is the same
/// as long as the host runs, so it is looked for once.
#[must_use]
pub fn tsc_khz() -> Option<u64> {
    static FOUND: OnceLock<Option<u64>> = OnceLock::new();
    *FOUND.get_or_init(|| in_log(&log()))
}

/// What the log holds now: nothing is waited for.
fn log() -> String {
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(LOG);
    let Ok(mut log) = opened else { return String::new() };
    let mut text = String::new();
    let mut record = [0; RECORD_BYTES_MAX];
    loop {
        match log.read(&mut record) {
            Ok(length @ 1..) => text.push_str(&String::from_utf8_lossy(&record[..length])),
            // What was to be read next has been overwritten.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            Ok(0) | Err(_) => return text,
        }
    }
}

/// The last of `tsc: Detected 2445.406 MHz processor` and `tsc: Refined TSC clocksource calibration: 2445.404 MHz`.
fn in_log(text: &str) -> Option<u64> {
    let measured = |line: &str| {
        let (_, rest) = line.split_once("tsc: ")?;
        let mhz =
            rest.strip_prefix("Detected ").or(rest.strip_prefix("Refined TSC clocksource calibration: "))?;
        let mhz: f64 = mhz.split(' ').next()?.parse().ok()?;
        // A float becomes the nearest number of those that there are.
        Some((mhz * 1000.0).round() as u64)
    };
    text.lines().filter_map(measured).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(log: &str, expect: Option<u64>) {
        assert_eq!(in_log(log), expect, "{log}");
    }

    #[test]
    fn the_last_word_counts() {
        check(
            "6,4,0,-;tsc: Fast TSC calibration using PIT\n6,5,0,-;tsc: Detected 2445.406 MHz processor\n",
            Some(2_445_406),
        );
        let refined = "6,5,0,-;tsc: Detected 2445.406 MHz processor\n\
                       6,9,1500000,-;tsc: Refined TSC clocksource calibration: 2445.404 MHz\n";
        check(refined, Some(2_445_404));
        check("6,5,0,-;tsc: Detected many MHz processor\n", None);
        check("", None);
    }

    #[test]
    fn the_log_has_an_end() {
        assert!(tsc_khz().is_none_or(|khz| khz > 100_000));
    }
}
