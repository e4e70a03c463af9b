//! How a guest writes to its memory: at some rate, to a set of pages of some size. Main type: [`Writes`].
//!
//! A page that is written twice in a round is sent once. So what counts is how many *different* pages are written in a time:
//!
//! ```text
//! bytes  set ┤              ╭───────────
//!            │         ╭────╯              set × (1 − e^(−rate × time ÷ set))
//!            │     ╭───╯
//!            │   ╭─╯  the slope here is the rate
//!          0 ┼───────────────────────────  time
//! ```

/// How a guest writes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Writes {
    /// Bytes per second of pages that are written to; a page counts each time.
    pub bytes_per_s: f64,
    /// Bytes of the pages that are written to again and again.
    pub set_bytes: f64,
}

/// Different pages written in a time, as it was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The time.
    pub seconds: f64,
    /// Their bytes.
    pub bytes: f64,
}

/// Above this share of its set a window no longer tells how fast that is written.
const FULL: f64 = 0.97;

/// Halvings of an interval until what lies in it is known well enough.
const HALVINGS: u32 = 60;

impl Writes {
    /// A guest that writes nothing.
    pub const NONE: Writes = Writes { bytes_per_s: 0.0, set_bytes: 0.0 };

    /// From what was measured in a short and a long window. A set of which the long window shows no end is taken to be all that
    /// the guest uses.
    #[must_use]
    pub fn of(short: Window, long: Window, used_bytes: f64) -> Writes {
        if long.bytes <= 0.0 || short.seconds <= 0.0 || long.seconds <= short.seconds {
            return Writes::NONE;
        }
        let times = long.seconds / short.seconds;
        if short.bytes * times <= long.bytes / FULL {
            // As much in each part of the time: nothing was written twice.
            return Writes { bytes_per_s: long.bytes / long.seconds, set_bytes: used_bytes.max(long.bytes) };
        }
        if short.bytes >= FULL * long.bytes {
            // All of it in the short window: at least so fast that nearly nothing was left out.
            let set_bytes = long.bytes.max(short.bytes);
            return Writes { bytes_per_s: rate(set_bytes, FULL, short.seconds), set_bytes };
        }
        // The larger the set, the more the long window shows beside the short one.
        let shown = |set: f64| set * (1.0 - (1.0 - short.bytes / set).powf(times));
        let (mut low, mut high) = (short.bytes, used_bytes.max(long.bytes) * 2.0);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if shown(middle) < long.bytes { low = middle } else { high = middle }
        }
        let set_bytes = high.min(used_bytes.max(long.bytes));
        let share = (short.bytes / set_bytes).min(FULL);
        Writes { bytes_per_s: rate(set_bytes, share, short.seconds), set_bytes }
    }

    /// Bytes of different pages that are written in so many seconds.
    #[must_use]
    pub fn within(self, seconds: f64) -> f64 {
        if self.set_bytes <= 0.0 {
            return 0.0;
        }
        self.set_bytes * -(-self.bytes_per_s * seconds / self.set_bytes).exp_m1()
    }

    /// The same guest, with so much of its time taken from it, 0 to 1.
    #[must_use]
    pub fn slowed(self, share: f64) -> Writes {
        Writes { bytes_per_s: self.bytes_per_s * (1.0 - share), ..self }
    }
}

/// How fast a set is written of which a share was met in a time.
fn rate(set_bytes: f64, share: f64, seconds: f64) -> f64 {
    -set_bytes * (-share).ln_1p() / seconds
}

#[cfg(test)]
mod tests {
    use super::{Window, Writes};
    use proptest::prelude::*;

    const MIB: f64 = 1_048_576.0;
    const USED: f64 = 1024.0 * MIB;

    fn measured(writes: Writes) -> Writes {
        let window = |seconds| Window { seconds, bytes: writes.within(seconds) };
        Writes::of(window(0.1), window(2.0), USED)
    }

    #[test]
    fn a_guest_that_does_not_write_does_not_write() {
        let none = Window { seconds: 0.1, bytes: 0.0 };
        assert_eq!(Writes::of(none, Window { seconds: 2.0, ..none }, USED), Writes::NONE);
        assert_eq!(Writes::NONE.within(1e9), 0.0);
    }

    #[test]
    fn a_set_that_is_written_wholly_in_the_short_window_shows_its_size() {
        let window = |seconds| Window { seconds, bytes: 50.0 * MIB };
        let writes = Writes::of(window(0.1), window(2.0), USED);
        assert_eq!(writes.set_bytes, 50.0 * MIB);
        assert!(writes.bytes_per_s > 1000.0 * MIB);
    }

    #[test]
    fn what_shows_no_end_may_be_all_that_is_used() {
        let window = |seconds| Window { seconds, bytes: seconds * 10.0 * MIB };
        let writes = Writes::of(window(0.1), window(2.0), USED);
        assert_eq!(writes.set_bytes, USED);
        assert!((writes.bytes_per_s / (10.0 * MIB) - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn two_windows_tell_rate_and_set_apart(rate_mib in 60.0f64..3000.0, set_mib in 20.0f64..400.0) {
            let writes = Writes { bytes_per_s: rate_mib * MIB, set_bytes: set_mib * MIB };
            // Neither window may be empty of news: the short one not full, the long one past the straight part.
            let turns = rate_mib / set_mib;
            prop_assume!(turns * 0.1 < 3.0 && turns * 2.0 > 0.5);
            let found = measured(writes);
            prop_assert!((found.set_bytes / writes.set_bytes - 1.0).abs() < 0.05, "{found:?}");
            prop_assert!((found.bytes_per_s / writes.bytes_per_s - 1.0).abs() < 0.05, "{found:?}");
        }

        #[test]
        fn any_measurement_gives_something(
            short in 0.0f64..1e12, long in 0.0f64..1e12, used in 0.0f64..1e12, slowed in 0.0f64..1.0, t in 0.0f64..1e6,
        ) {
            let writes = Writes::of(Window { seconds: 0.1, bytes: short }, Window { seconds: 2.0, bytes: long }, used);
            prop_assert!(writes.bytes_per_s.is_finite() && writes.bytes_per_s >= 0.0, "{writes:?}");
            prop_assert!(writes.set_bytes.is_finite() && writes.set_bytes >= 0.0, "{writes:?}");
            let within = writes.within(t);
            prop_assert!(within >= 0.0 && within <= writes.set_bytes * 1.000_001);
            prop_assert!(writes.slowed(slowed).within(t) <= within * 1.000_001);
            prop_assert!(writes.within(t * 2.0) >= within);
        }
    }
}
