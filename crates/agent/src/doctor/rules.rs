//! What is too old, too open, too full or too far apart: the doctor's judgements, without looking at anything.

use std::path::Path;
use std::time::Duration;

use api::Finding;
use client::tls::Described;

use super::{problem, warning};
use crate::limits::{CERTIFICATE_LEFT_MIN, CLOCK_SKEW_MAX, STATE_BYTES_MIN};

const ISSUE_AGAIN: &str = "make a new one with `ferry ca issue NAME … --replace`, then restart the agent";
const JOIN_AGAIN: &str = "see that the host that holds the CA's key answers (`ferry host list`): the agent renews it by \
                          itself; once it has expired, `ferry host join --replace` with a new token";

/// A certificate at a moment, in seconds since 1970; `host` where it must carry a name.
pub(super) fn certificate(
    path: &Path,
    is: &Described,
    host: Option<&str>,
    has_joined: bool,
    now_s: i64,
) -> Option<Finding> {
    let path = path.display();
    let again = if has_joined { JOIN_AGAIN } else { ISSUE_AGAIN };
    let left_s = is.until_s - now_s;
    if left_s <= 0 {
        return Some(problem("certificate-expired", format!("{path} has expired"), again));
    }
    if is.from_s > now_s {
        let mend = "set this host's clock (timedatectl), or make the certificate again";
        return Some(problem("certificate-not-yet-valid", format!("{path} is not valid yet"), mend));
    }
    if let Some(host) = host.filter(|host| !is.names.iter().any(|name| name == host)) {
        let names = is.names.join(", ");
        let said = format!("{path} is for {names}, and this host's name is {host}");
        return Some(problem("certificate-of-another-host", said, again));
    }
    let left = Duration::from_secs(left_s.unsigned_abs());
    let days = left.as_secs() / 86_400;
    (left < CERTIFICATE_LEFT_MIN)
        .then(|| warning("certificate-expires", format!("{path} expires in {days} days"), again))
}

/// The permission bits of what only root may read.
pub(super) fn mode(path: &Path, mode: u32) -> Option<Finding> {
    let path = path.display();
    (mode & 0o077 != 0).then(|| {
        let said = format!("others than root may use {path} (mode {:04o})", mode & 0o7777);
        warning("permissions", said, format!("chmod go= {path}"))
    })
}

/// Free bytes where journals and definitions lie.
pub(super) fn space(path: &Path, free: u64) -> Option<Finding> {
    (free < STATE_BYTES_MIN).then(|| {
        let said = format!("only {} MiB are free in {}", free >> 20, path.display());
        problem("state-full", said, "make room: a migration is refused where its journal cannot be written")
    })
}

/// How far another host's clock is ahead, in milliseconds; the question itself took `round_trip`.
pub(super) fn skew(host: &str, ahead_ms: i64, round_trip: Duration) -> Option<Finding> {
    let apart = Duration::from_millis(ahead_ms.unsigned_abs());
    (apart > CLOCK_SKEW_MAX + round_trip).then(|| {
        let word = if ahead_ms > 0 { "ahead of" } else { "behind" };
        let said = format!("the clock of {host} is {:.1} s {word} this host's", apart.as_secs_f64());
        warning("clock-skew", said, "run an NTP client on both: guests see the difference when they move")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_S: i64 = 86_400;

    #[track_caller]
    fn check(found: Option<Finding>, expect: Option<&str>) {
        assert_eq!(found.as_ref().map(|finding| finding.code.as_str()), expect, "{found:?}");
    }

    #[test]
    fn certificates_are_judged_by_time_and_name() {
        let is = Described {
            names: vec!["kvm1".into()],
            serial: String::new(),
            from_s: 10 * DAY_S,
            until_s: 110 * DAY_S,
        };
        let at = |day: i64, host| certificate(Path::new("host.pem"), &is, host, false, day * DAY_S);
        check(at(50, Some("kvm1")), None);
        check(at(50, None), None);
        check(at(50, Some("kvm2")), Some("certificate-of-another-host"));
        check(at(9, Some("kvm1")), Some("certificate-not-yet-valid"));
        check(at(79, Some("kvm1")), None);
        check(at(81, Some("kvm1")), Some("certificate-expires"));
        check(at(110, Some("kvm2")), Some("certificate-expired"));
    }

    #[test]
    fn the_rest_is_judged_by_its_bound() {
        check(mode(Path::new("/a"), 0o100_600), None);
        check(mode(Path::new("/a"), 0o40_750), Some("permissions"));
        check(space(Path::new("/a"), STATE_BYTES_MIN), None);
        check(space(Path::new("/a"), STATE_BYTES_MIN - 1), Some("state-full"));
        check(skew("kvm2", 1500, Duration::ZERO), Some("clock-skew"));
        check(skew("kvm2", -1500, Duration::ZERO), Some("clock-skew"));
        check(skew("kvm2", 400, Duration::ZERO), None);
        check(skew("kvm2", 1500, Duration::from_secs(1)), None);
    }
}
