//! Reads the text of /proc/meminfo (proc_meminfo(5)). It opens no file. The main type is [`Memory`].

/// Bytes in a "kB" of the kernel, which means 1024.
const KB: u64 = 1024;

/// The two lines that matter, in bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// `MemTotal`.
    pub(crate) total: u64,
    /// `MemAvailable`.
    pub(crate) available: u64,
}

/// Reads lines `Name: value kB`. The error is the name of a line that is missing or holds no number.
pub(crate) fn parse(text: &str) -> Result<Memory, &'static str> {
    let field = |name: &'static str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .and_then(|value| value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .and_then(|kb| kb.checked_mul(KB))
            .ok_or(name)
    };
    Ok(Memory { total: field("MemTotal")?, available: field("MemAvailable")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<(u64, u64), &'static str>) {
        assert_eq!(parse(text).map(|memory| (memory.total, memory.available)), expect);
    }

    #[test]
    fn a_real_one() {
        let text = include_str!("../tests/samples/meminfo.txt");
        check(text, Ok((24_682_416 * 1024, 24_212_268 * 1024)));
    }

    #[test]
    fn a_longer_name_is_another_line() {
        check("MemTotalX: 1 kB\nMemTotal: 2 kB\nMemAvailable:3 kB\n", Ok((2048, 3072)));
    }

    #[test]
    fn what_is_missing_is_named() {
        check("", Err("MemTotal"));
        check("MemTotal: 2 kB\n", Err("MemAvailable"));
        check("MemTotal: many kB\nMemAvailable: 3 kB\n", Err("MemTotal"));
        check("MemTotal: 2 pages\nMemAvailable: 3 kB\n", Err("MemTotal"));
        check("MemTotal: 18446744073709551615 kB\nMemAvailable: 3 kB\n", Err("MemTotal"));
    }
}
