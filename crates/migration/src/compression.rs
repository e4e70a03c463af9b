//! How much is compressed on the way, decided while it goes. Compression pays where the network is what a copy waits for and
//! processors have nothing to do; where they have, it would take time from guests and from the copy itself. It measures
//! nothing. Main type: [`Compression`].

/// What was seen since the last decision.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Share of their time that those who read and compress waited for the network, 0 to 1.
    pub waited: f64,
    /// Share of this host's processors that had nothing to do, 0 to 1.
    pub idle: f64,
}

/// zstd's levels, the cheapest first. Pieces of 1 MiB become smaller at level 2 than at 1 for next to nothing; above level 7
/// each further per cent costs as much again as all before it.
const LEVELS: [i32; 5] = [0, 2, 3, 5, 7];

/// Above this share of waiting the network is what a copy waits for.
const WAITED_MIN: f64 = 0.5;

/// Below this share the workers themselves are what it waits for.
const WAITED_SCARCE: f64 = 0.1;

/// Processors that must be idle to take more of them.
const IDLE_MIN: f64 = 0.25;

/// With fewer of them idle, some are given back.
const IDLE_SCARCE: f64 = 0.1;

/// The level, one step at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compression {
    step: usize,
    /// The mean of what was seen, in which each window weighs half as much as the one after it: where what compresses well and
    /// what does not take turns, one window shows only one of them.
    seen: Option<Window>,
}

/// The cheapest level: on a fast network it is given up at the first decision, a slow one has won until then.
impl Default for Compression {
    fn default() -> Compression {
        Compression { step: 1, seen: None }
    }
}

impl Compression {
    /// The step that has this level, or the next cheaper one.
    #[must_use]
    pub fn at(level: i32) -> Compression {
        Compression { step: LEVELS.iter().rposition(|known| *known <= level).unwrap_or(0), seen: None }
    }

    /// The level until the next decision; 0 does not compress.
    #[must_use]
    pub fn level(self) -> i32 {
        LEVELS[self.step]
    }

    /// Decides anew.
    #[must_use]
    pub fn after(self, now: Window) -> Compression {
        let seen = self.seen.map_or(now, |before| before.mean(now));
        let step = if seen.idle < IDLE_SCARCE || seen.waited < WAITED_SCARCE {
            self.step.saturating_sub(1)
        } else if seen.waited > WAITED_MIN && seen.idle > IDLE_MIN {
            (self.step + 1).min(LEVELS.len() - 1)
        } else {
            self.step
        };
        Compression { step, seen: Some(seen) }
    }
}

impl Window {
    fn mean(self, other: Window) -> Window {
        Window { waited: f64::midpoint(self.waited, other.waited), idle: f64::midpoint(self.idle, other.idle) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, Window};

    fn check(windows: &[(f64, f64)], expect: &[i32]) {
        let mut compression = Compression::default();
        let levels: Vec<i32> = windows
            .iter()
            .map(|&(waited, idle)| {
                compression = compression.after(Window { waited, idle });
                compression.level()
            })
            .collect();
        assert_eq!(levels, expect, "{windows:?}");
    }

    #[test]
    fn it_compresses_while_the_network_is_waited_for_and_processors_are_idle() {
        check(&[(0.9, 0.8); 5], &[3, 5, 7, 7, 7]);
        check(&[(0.9, 0.05); 2], &[0, 0]);
        check(&[(0.05, 0.5); 3], &[0, 0, 0]);
        check(&[(0.05, 0.5), (0.9, 0.8), (0.9, 0.8)], &[0, 0, 2]);
        check(&[(0.6, 0.8), (0.3, 0.8), (0.6, 0.2), (0.6, 0.2)], &[3, 3, 5, 7]);
        check(&[(0.9, 0.8), (0.05, 0.05), (0.9, 0.8), (0.05, 0.05), (0.9, 0.8), (0.05, 0.05)], &[3, 3, 5, 5, 7, 7]);
        check(&[(0.9, 0.8), (0.05, 0.5), (0.05, 0.5), (0.05, 0.5), (0.05, 0.5)], &[3, 3, 3, 3, 3]);
        check(&[(0.9, 0.8), (0.01, 0.5), (0.01, 0.5), (0.01, 0.5), (0.01, 0.5)], &[3, 3, 3, 3, 2]);
        assert_eq!([-1, 0, 4, 9].map(|level| Compression::at(level).level()), [0, 0, 3, 7]);
    }
}
