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
    /// Bytes of content that were done, a second.
    pub content_bytes_per_s: f64,
}

/// zstd's levels, the cheapest first. Pieces of 1 MiB become smaller at level 2 than at 1 for next to nothing; above level 7
/// each further per cent costs as much again as all before it.
const LEVELS: [i32; 5] = [0, 2, 3, 5, 7];

/// Above this share of waiting the network is what a copy waits for.
const WAITED_MIN: f64 = 0.5;

/// Below this share the workers themselves are what it waits for.
const WAITED_SCARCE: f64 = 0.1;

/// Above this share the cheapest level is kept even where processors are scarce: less on the network then is worth the little
/// that it takes.
const WAITED_CHEAP: f64 = 0.3;

/// Processors that must be idle to take more of them.
const IDLE_MIN: f64 = 0.25;

/// With fewer of them idle, some are given back.
const IDLE_SCARCE: f64 = 0.1;

/// The level, one step at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compression {
    step: usize,
    /// What was seen at each level that was tried.
    seen: [Option<Window>; LEVELS.len()],
}

/// The cheapest level: on a fast network it is given up at the first decision, a slow one has won until then.
impl Default for Compression {
    fn default() -> Compression {
        Compression { step: 1, seen: [None; LEVELS.len()] }
    }
}

impl Compression {
    /// The step that has this level, or the next cheaper one.
    #[must_use]
    pub fn at(level: i32) -> Compression {
        let step = LEVELS.iter().rposition(|known| *known <= level).unwrap_or(0);
        Compression { step, ..Compression::default() }
    }

    /// The level until the next decision; 0 does not compress.
    #[must_use]
    pub fn level(self) -> i32 {
        LEVELS[self.step]
    }

    /// Decides anew.
    #[must_use]
    pub fn after(mut self, now: Window) -> Compression {
        let seen = now.after(self.seen[self.step]);
        self.seen[self.step] = Some(seen);
        let cheaper = self.step.saturating_sub(1);
        let dearer = (self.step + 1).min(LEVELS.len() - 1);
        let is_cheap = self.step == 1 && seen.waited > WAITED_CHEAP;
        let takes_much = seen.idle < IDLE_SCARCE && !is_cheap && !self.is_slower(cheaper);
        if seen.waited < WAITED_SCARCE || takes_much {
            self.step = cheaper;
        } else if seen.waited > WAITED_MIN && seen.idle > IDLE_MIN && !self.is_slower(dearer) {
            self.step = dearer;
        }
        self
    }

    /// Whether less content went over at another step when that was tried. Where more goes over than without, compression is
    /// worth all processors.
    fn is_slower(&self, other: usize) -> bool {
        let rate = |step: usize| self.seen[step].map(|seen| seen.content_bytes_per_s);
        rate(other).is_some_and(|other| Some(other) < rate(self.step))
    }
}

impl Window {
    /// The mean with what was seen before, in which each window weighs half as much as the one after it: where what compresses
    /// well and what does not take turns, one window shows only one of them.
    fn after(self, before: Option<Window>) -> Window {
        let Some(before) = before else { return self };
        Window {
            waited: f64::midpoint(self.waited, before.waited),
            idle: f64::midpoint(self.idle, before.idle),
            content_bytes_per_s: f64::midpoint(self.content_bytes_per_s, before.content_bytes_per_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Compression, Window};

    /// Windows of what was waited, what was idle, and how much was done.
    fn check(windows: &[(f64, f64, f64)], expect: &[i32]) {
        let mut compression = Compression::default();
        let levels: Vec<i32> = windows
            .iter()
            .map(|&(waited, idle, content_bytes_per_s)| {
                compression = compression.after(Window { waited, idle, content_bytes_per_s });
                compression.level()
            })
            .collect();
        assert_eq!(levels, expect, "{windows:?}");
    }

    #[test]
    fn it_compresses_while_the_network_is_waited_for_and_processors_are_idle() {
        check(&[(0.9, 0.8, 1.0); 5], &[3, 5, 7, 7, 7]);
        check(&[(0.2, 0.05, 1.0); 2], &[0, 0]);
        check(&[(0.4, 0.05, 1.0); 2], &[2, 2]);
        check(&[(0.9, 0.8, 1.0), (0.4, 0.05, 1.0)], &[3, 2]);
        check(&[(0.05, 0.5, 1.0); 3], &[0, 0, 0]);
        check(&[(0.05, 0.5, 1.0), (0.9, 0.8, 1.0), (0.9, 0.8, 1.0)], &[0, 2, 2]);
        check(&[(0.6, 0.8, 1.0), (0.3, 0.8, 1.0), (0.6, 0.2, 1.0), (0.6, 0.2, 1.0)], &[3, 3, 3, 5]);
        assert_eq!([-1, 0, 4, 9].map(|level| Compression::at(level).level()), [0, 0, 3, 7]);
    }

    #[test]
    fn one_window_decides_little() {
        let (text, noise) = ((0.05, 0.05, 2.0), (0.9, 0.8, 1.0));
        check(&[noise, text, noise, text, noise, text], &[3, 2, 3, 2, 3, 2]);
        let quick = (0.01, 0.5, 1.0);
        check(&[noise, quick, quick, quick, quick, quick], &[3, 2, 2, 2, 2, 0]);
    }

    #[test]
    fn what_brings_more_is_kept_though_it_takes_all_processors() {
        let (none, compressed) = ((0.9, 0.6, 1.0), (0.2, 0.02, 1.4));
        check(&[compressed, none, compressed, compressed, compressed], &[0, 2, 2, 2, 2]);
        let slower = (0.2, 0.02, 0.9);
        check(&[slower, none, none, slower, none], &[0, 0, 0, 0, 0]);
        // A network that has become fast is not waited for any more.
        let fast = (0.02, 0.02, 1.4);
        check(&[compressed, none, fast, fast, fast, fast], &[0, 2, 2, 0, 0, 0]);
    }
}
