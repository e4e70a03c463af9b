//! How much of this host's processors is in use, from proc_stat(5). Main type: [`ProcessorTime`].

/// Time of all processors since the host started, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessorTime {
    idle: u64,
    all: u64,
}

impl ProcessorTime {
    /// Until now; `None` where the kernel does not tell.
    #[must_use]
    pub fn read() -> Option<ProcessorTime> {
        parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The share of time, 0 to 1, in which processors had nothing to do since `earlier`; `None` where no time has passed.
    #[must_use]
    pub fn idle_since(self, earlier: ProcessorTime) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|all| *all > 0)?;
        Some(self.idle.saturating_sub(earlier.idle).min(all) as f64 / all as f64)
    }
}

/// The line `cpu`: user, nice, system, idle, iowait, irq, softirq, steal. Guests' time stands in user's as well.
fn parse(stat: &str) -> Option<ProcessorTime> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        fields.split_ascii_whitespace().take(8).map_while(|field| field.parse().ok()).collect();
    let (idle, waiting) = (*ticks.get(3)?, *ticks.get(4)?);
    Some(ProcessorTime { idle: idle + waiting, all: ticks.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::{ProcessorTime, parse};

    #[test]
    fn idle_is_what_waits_too() {
        let earlier = parse("cpu  10 0 10 60 20 0 0 0 5 0\ncpu0 1 1 1").unwrap();
        assert_eq!(earlier, ProcessorTime { idle: 80, all: 100 });
        let now = parse("cpu  60 0 10 100 30 0 0 0 50 0\n").unwrap();
        assert_eq!(now.idle_since(earlier), Some(0.5));
        assert_eq!(now.idle_since(now), None);
        assert_eq!(earlier.idle_since(now), None);
        assert_eq!(parse("cpu  1 2 3"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn this_host_tells() {
        assert!(ProcessorTime::read().is_some());
    }
}
