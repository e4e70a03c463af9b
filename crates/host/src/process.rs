//! How long a process and its threads have been on processors, from proc_pid_stat(5). Main functions: [`process_time`],
//! [`thread_time`].

use std::time::Duration;

/// Of all threads of a process, those that have ended too; `None` where there is none of this number.
#[must_use]
pub fn process_time(pid: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Of one thread of a process.
#[must_use]
pub fn thread_time(pid: u32, thread: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/stat")).ok()?)
}

/// `utime` and `stime`, the 14th and 15th field, in clock ticks. The name, the second one, may have spaces and brackets.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    let ticks = ticks()? + ticks()?;
    // Times 1000 first: the kernel's tick is 10 ms on every x86-64 machine, and need not divide a second elsewhere.
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

#[cfg(test)]
mod tests {
    use super::{parse, process_time, thread_time};
    use std::time::Duration;

    #[test]
    fn the_name_may_be_anything() {
        let tail = "S 1 2 2 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 100 0 0";
        for name in ["qemu", "a b", "x) S 1 (", ""] {
            assert_eq!(parse(&format!("2 ({name}) {tail}")), Some(Duration::from_secs(2)), "{name}");
        }
        assert_eq!(parse("2 (qemu) S 1 2"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_process_has_a_time_and_so_has_its_first_thread() {
        let own = std::process::id();
        let all = process_time(own).expect("it lives");
        assert!(thread_time(own, own).expect("it lives") <= all + Duration::from_millis(20));
        assert_eq!(process_time(u32::MAX), None);
    }
}
