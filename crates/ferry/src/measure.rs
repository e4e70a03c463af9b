//! Amounts as people read and type them: bytes, rates, times. Main functions: [`bytes`], [`bytes_per_s`].

use std::time::Duration;

const BINARY: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Bytes with three digits, as in `1.21 GiB`.
pub(crate) fn bytes(amount: u64) -> String {
    scaled(amount, 3)
}

/// Bytes per second with two digits, as in `9.8 MiB/s`.
pub(crate) fn rate(amount: u64) -> String {
    format!("{}/s", scaled(amount, 2))
}

fn scaled(amount: u64, digits: usize) -> String {
    let mut value = amount as f64;
    let mut unit = 0;
    // The next unit also where rounding would give 1024.
    while value >= 1023.5 && unit + 1 < BINARY.len() {
        value /= 1024.0;
        unit += 1;
    }
    let whole = if value < 9.995 {
        1
    } else if value < 99.95 {
        2
    } else {
        3
    };
    let decimals = if unit == 0 { 0 } else { digits.saturating_sub(whole) };
    format!("{value:.decimals$} {}", BINARY[unit])
}

/// A time, as in `18 ms`, `4.2 s` or `3 min 20 s`.
pub(crate) fn milliseconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000.. => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
    }
}

/// Why an amount cannot be understood.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MeasureError {
    /// No number in front.
    #[error("it must begin with a number, as in {example}")]
    NoNumber { example: &'static str },
    /// No unit behind, or an unknown one.
    #[error("{unit:?} is no unit here; use one of {units}")]
    Unit { unit: String, units: &'static str },
    /// Out of range.
    #[error("it must be {range}")]
    Range { range: &'static str },
}

/// Reads a blackout: `30ms`, `0.5s`, `1s`.
pub(crate) fn blackout(text: &str) -> Result<Duration, MeasureError> {
    const RANGE: MeasureError = MeasureError::Range { range: "from 1ms to 60s" };
    let (number, unit) = split(text, "30ms")?;
    let ms = match unit {
        "ms" => number,
        "s" => number * 1_000.0,
        _ => return Err(MeasureError::Unit { unit: unit.to_owned(), units: "ms, s" }),
    };
    if !(1.0..=60_000.0).contains(&ms) {
        return Err(RANGE);
    }
    Ok(Duration::from_millis(ms.round() as u64))
}

/// Reads a time in which something is to be done: `90s`, `10min`, `1h`.
pub(crate) fn deadline(text: &str) -> Result<Duration, MeasureError> {
    let (number, unit) = split(text, "90s")?;
    let seconds = match unit {
        "s" => number,
        "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(MeasureError::Unit { unit: unit.to_owned(), units: "s, min, h" }),
    };
    if (1.0..=604_800.0).contains(&seconds) {
        Ok(Duration::from_secs(seconds.round() as u64))
    } else {
        Err(MeasureError::Range { range: "from 1s to 168h" })
    }
}

/// Reads the time in which something is to be confirmed: `30s`, `2min`, `0`.
pub(crate) fn confirm_within(text: &str) -> Result<Duration, MeasureError> {
    let (number, unit) = split(text, "30s")?;
    if number == 0.0 {
        return Ok(Duration::ZERO);
    }
    let seconds = match unit {
        "s" => number,
        "min" => number * 60.0,
        _ => return Err(MeasureError::Unit { unit: unit.to_owned(), units: "s, min" }),
    };
    if (1.0..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(MeasureError::Range { range: "0, or from 1s to 60min" })
    }
}

/// Reads a rate in bytes per second: `0`, `100MiB/s`, `1Gbit/s`. The `/s` may be left out.
pub(crate) fn bytes_per_s(text: &str) -> Result<u64, MeasureError> {
    let (number, unit) = split(text, "100MiB/s")?;
    if number == 0.0 {
        return Ok(0);
    }
    let factor = match unit.strip_suffix("/s").unwrap_or(unit) {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1024.0 * 1024.0,
        "GiB" => 1024.0 * 1024.0 * 1024.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "kbit" => 1e3 / 8.0,
        "Mbit" => 1e6 / 8.0,
        "Gbit" => 1e9 / 8.0,
        _ => {
            let units = "KiB/s, MiB/s, GiB/s, kB/s, MB/s, GB/s, Mbit/s, Gbit/s";
            return Err(MeasureError::Unit { unit: unit.to_owned(), units });
        }
    };
    let rate = number * factor;
    if (1.0..1e15).contains(&rate) {
        Ok(rate.round() as u64)
    } else {
        Err(MeasureError::Range { range: "0, or from 1B/s to 1000000GB/s" })
    }
}

/// Reads a size in bytes: `4GiB`, `4G`, `1.5T`; letters count in 1024, as in qemu-img and libvirt.
pub(crate) fn size(text: &str) -> Result<u64, MeasureError> {
    let (number, unit) = split(text, "4GiB")?;
    let shift = match unit.strip_suffix("iB").unwrap_or(unit) {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err(MeasureError::Unit { unit: unit.to_owned(), units: "KiB, MiB, GiB, TiB" }),
    };
    let bytes = number * f64::from(1_u32 << (shift - 10)) * 1024.0;
    if (1.0..9e18).contains(&bytes) {
        Ok(bytes.round() as u64)
    } else {
        Err(MeasureError::Range { range: "more than nothing, and less than 8388608TiB" })
    }
}

fn split<'a>(text: &'a str, example: &'static str) -> Result<(f64, &'a str), MeasureError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number = number.parse().map_err(|_invalid| MeasureError::NoNumber { example })?;
    Ok((number, unit.trim()))
}

#[cfg(test)]
mod tests {
    use super::{
        MeasureError, blackout, bytes, bytes_per_s, confirm_within, deadline, milliseconds, rate, size,
    };
    use std::time::Duration;

    #[test]
    fn amounts() {
        for (amount, expect) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (10 * 1024, "10.0 KiB"),
            (1024 * 1024 - 1, "1.00 MiB"),
            (121 << 20, "121 MiB"),
            (1 << 30, "1.00 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(amount), expect);
        }
        assert_eq!(rate(98 * 1024 * 1024 + 400 * 1024), "98 MiB/s");
        assert_eq!(rate(10_276_045), "9.8 MiB/s");
    }

    #[test]
    fn times() {
        assert_eq!(milliseconds(18), "18 ms");
        assert_eq!(milliseconds(4_250), "4.2 s");
        assert_eq!(milliseconds(200_000), "3 min 20 s");
    }

    #[test]
    fn deadlines() {
        assert_eq!(deadline("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(deadline("1.5min"), Ok(Duration::from_secs(90)));
        assert_eq!(deadline("168h"), Ok(Duration::from_secs(604_800)));
        assert!(matches!(deadline("0s"), Err(MeasureError::Range { .. })));
        assert!(matches!(deadline("169h"), Err(MeasureError::Range { .. })));
        assert!(matches!(deadline("90ms"), Err(MeasureError::Unit { .. })));
    }

    #[test]
    fn blackouts() {
        assert_eq!(blackout("30ms"), Ok(Duration::from_millis(30)));
        assert_eq!(blackout("0.5s"), Ok(Duration::from_millis(500)));
        assert!(matches!(blackout("0ms"), Err(MeasureError::Range { .. })));
        assert!(matches!(blackout("61s"), Err(MeasureError::Range { .. })));
        assert!(matches!(blackout("30"), Err(MeasureError::Unit { .. })));
        assert!(matches!(blackout("-1s"), Err(MeasureError::NoNumber { .. })));
        assert!(matches!(blackout("1.2.3s"), Err(MeasureError::NoNumber { .. })));
    }

    #[test]
    fn times_to_confirm_in() {
        assert_eq!(confirm_within("0"), Ok(Duration::ZERO));
        assert_eq!(confirm_within("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(confirm_within("2min"), Ok(Duration::from_secs(120)));
        assert!(matches!(confirm_within("2h"), Err(MeasureError::Unit { .. })));
        assert!(matches!(confirm_within("61min"), Err(MeasureError::Range { .. })));
    }

    #[test]
    fn sizes() {
        assert_eq!(size("4G"), Ok(4 << 30));
        assert_eq!(size("1.5 TiB"), Ok(3 << 39));
        assert_eq!(size("512MiB"), Ok(512 << 20));
        for unit in ["4", "4GB", "4iB", "4g"] {
            assert!(matches!(size(unit), Err(MeasureError::Unit { .. })), "{unit}");
        }
        assert!(matches!(size("0G"), Err(MeasureError::Range { .. })));
        assert!(matches!(size("9999999999TiB"), Err(MeasureError::Range { .. })));
        assert!(matches!(size("much"), Err(MeasureError::NoNumber { .. })));
    }

    #[test]
    fn rates() {
        assert_eq!(bytes_per_s("0"), Ok(0));
        assert_eq!(bytes_per_s("100MiB/s"), Ok(100 << 20));
        assert_eq!(bytes_per_s("100 MiB"), Ok(100 << 20));
        assert_eq!(bytes_per_s("1Gbit/s"), Ok(125_000_000));
        assert!(matches!(bytes_per_s("100"), Err(MeasureError::Unit { .. })));
        assert!(matches!(bytes_per_s("100M"), Err(MeasureError::Unit { .. })));
        assert!(matches!(bytes_per_s("fast"), Err(MeasureError::NoNumber { .. })));
        assert!(matches!(bytes_per_s("9999999999GB/s"), Err(MeasureError::Range { .. })));
    }
}
