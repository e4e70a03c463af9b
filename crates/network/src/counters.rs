//! What went through the links of this network namespace, from proc_pid_net(5), `dev`. Main type: [`Counters`].

use std::collections::HashMap;
use std::io;

/// What went through one link since it was made, as the host sees it: what a tap transmits, its guest receives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that came in by it.
    pub received_bytes: u64,
    /// Packets that came in by it.
    pub received_packets: u64,
    /// Packets that came in and were dropped.
    pub received_dropped: u64,
    /// Bytes that went out by it.
    pub transmitted_bytes: u64,
    /// Packets that went out by it.
    pub transmitted_packets: u64,
    /// Packets that were to go out and were dropped.
    pub transmitted_dropped: u64,
}

/// The counters of every link, by name, in the network namespace of this thread.
///
/// # Errors
/// When the kernel's file cannot be read.
pub fn counters() -> io::Result<HashMap<String, Counters>> {
    Ok(parse(&std::fs::read_to_string("/proc/thread-self/net/dev")?))
}

/// Two lines of headings, then `name: ` with eight figures of what was received and eight of what was transmitted.
fn parse(dev: &str) -> HashMap<String, Counters> {
    let line = |line: &str| {
        let (name, figures) = line.split_once(':')?;
        let figures: Vec<u64> =
            figures.split_ascii_whitespace().map_while(|word| word.parse().ok()).collect();
        let counters = Counters {
            received_bytes: *figures.first()?,
            received_packets: *figures.get(1)?,
            received_dropped: *figures.get(3)?,
            transmitted_bytes: *figures.get(8)?,
            transmitted_packets: *figures.get(9)?,
            transmitted_dropped: *figures.get(11)?,
        };
        Some((name.trim().to_owned(), counters))
    };
    dev.lines().skip(2).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Counters, counters, parse};

    #[test]
    fn a_file_of_the_kernel_is_read() {
        let text = "Inter-|   Receive                                                |  Transmit\n \
            face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n\
            tap0-0:    1000      10    1    2    0     0          0         0    20000     200    3    4    0     0       0          0\n  \
            bad: 1 2\n";
        let found = parse(text);
        let expect = Counters {
            received_bytes: 1000,
            received_packets: 10,
            received_dropped: 2,
            transmitted_bytes: 20000,
            transmitted_packets: 200,
            transmitted_dropped: 4,
        };
        assert_eq!(found.get("tap0-0"), Some(&expect));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn this_namespace_has_a_loopback() {
        assert!(counters().expect("the kernel's file").contains_key("lo"));
    }
}
