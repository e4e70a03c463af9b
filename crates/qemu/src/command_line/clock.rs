//! `-rtc`: what the guest's real-time clock shows at start.

use std::ffi::OsString;

use domain::{Clock, ClockBasis, ClockOffset, TickPolicy, TimerName, TimerTrack};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::switch::{Properties, Switch};

/// `-rtc`.
#[derive(Clone, Copy, Debug)]
pub struct Rtc<'a> {
    /// What the definition says.
    pub clock: &'a Clock,
    /// What time it is on the host, in its time zone.
    pub now: &'a Zoned,
}

impl Rtc<'_> {
    /// The date and time at which a clock begins that is not simply the host's.
    fn base(&self) -> Option<DateTime> {
        let later = |from: DateTime, seconds| from.saturating_add(SignedDuration::from_secs(seconds));
        match self.clock.offset {
            ClockOffset::Utc | ClockOffset::Localtime => None,
            ClockOffset::Variable { adjustment_s, basis: ClockBasis::Utc } => {
                Some(later(self.now.with_time_zone(TimeZone::UTC).datetime(), adjustment_s))
            }
            ClockOffset::Variable { adjustment_s, basis: ClockBasis::Localtime } => {
                Some(later(self.now.datetime(), adjustment_s))
            }
            ClockOffset::Absolute { start_s } => {
                Some(later(Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC).datetime(), start_s))
            }
        }
    }
}

impl Switch for Rtc<'_> {
    fn name(&self) -> &'static str {
        "-rtc"
    }

    fn value(&self) -> Option<OsString> {
        let base = match (self.base(), self.clock.offset) {
            // Seconds and no more: that is all that QEMU reads.
            (Some(base), _) => base.strftime("%Y-%m-%dT%H:%M:%S").to_string(),
            (None, ClockOffset::Localtime) => "localtime".to_owned(),
            (None, ClockOffset::Utc | ClockOffset::Variable { .. } | ClockOffset::Absolute { .. }) => {
                "utc".to_owned()
            }
        };
        let timer = self.clock.timer(TimerName::Rtc);
        let clock = timer.and_then(|timer| timer.track).map(|track| match track {
            TimerTrack::Guest => "vm",
            TimerTrack::Wall => "host",
        });
        let catch_up = timer.and_then(|timer| timer.tickpolicy) == Some(TickPolicy::Catchup);
        let value = Properties::new("").with("base", base).with_some("clock", clock);
        Some(value.with_some("driftfix", catch_up.then_some("slew")).into_os_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(offset: ClockOffset, expect: &str) {
        let now: Zoned = "2026-11-22T23:30:00.5+01:00[Europe/Berlin]".parse().unwrap();
        let clock = Clock { offset, timers: Vec::new() };
        let value = Rtc { clock: &clock, now: &now }.value().unwrap();
        assert_eq!(value, expect);
    }

    #[test]
    fn clocks_begin_where_the_definition_says() {
        check(ClockOffset::Utc, "base=utc");
        check(ClockOffset::Localtime, "base=localtime");
        let variable = |adjustment_s, basis| ClockOffset::Variable { adjustment_s, basis };
        check(variable(0, ClockBasis::Utc), "base=2026-11-22T22:30:00");
        check(variable(3600, ClockBasis::Localtime), "base=2026-11-23T00:30:00");
        check(variable(-86_400, ClockBasis::Utc), "base=2026-11-21T22:30:00");
        check(ClockOffset::Absolute { start_s: 86_399 }, "base=1970-01-01T23:59:59");
    }
}
