//! Every bound of this crate, named.

use std::time::Duration;

/// Longest journal record in bytes. A definition is stored beside the journal, not in it; the longest record lists the
/// files that go with a domain, some hundred bytes each. A longer length means that the bytes are not a record.
pub const JOURNAL_RECORD_BYTES_MAX: u32 = 1024 * 1024;

/// Longest owner record in bytes; more is not an owner record.
pub const OWNER_RECORD_BYTES_MAX: usize = 4 * 1024;

/// How far the clocks of two hosts may be apart for a preflight to say nothing, in milliseconds.
pub(crate) const CLOCK_SKEW_MS_MAX: u64 = 500;

/// Days that a certificate must still be valid for a preflight to say nothing.
pub(crate) const CERTIFICATE_DAYS_MIN: i64 = 30;

/// Free bytes that a preflight wants where journals and definitions lie.
pub(crate) const STATE_BYTES_MIN: u64 = 64 << 20;

/// How far the rates of two hosts' time stamp counters may be apart for a preflight to say nothing, in millionths. KVM
/// itself takes a smaller difference for none (`tsc_tolerance_ppm` of its module).
pub(crate) const TSC_PPM_MAX: u64 = 250;

/// How long nothing of a guest's memory may go over the network until its migration is given up, though both hosts answer.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(30);

/// Rounds after which reckoning ahead gives up. Each means of convergence needs a few, and short rounds are judged together; the
/// policy ends a migration long before.
pub(crate) const PLAN_ROUNDS_MAX: u64 = 20_000;

/// Past migrations that correct a prediction, the latest ones: hosts, links and guests change.
pub(crate) const PLAN_PAST_MAX: usize = 100;

/// Past migrations between the same two hosts from which on only those count.
pub(crate) const PLAN_PAIR_MIN: usize = 8;

/// The longest blackout that is named as what a migration would need, in milliseconds; beyond it a guest is better moved shut off.
pub(crate) const PLAN_BLACKOUT_MS_MAX: u64 = 60_000;

/// How many times as fast a link is looked at, at most, as what a migration would need.
pub(crate) const PLAN_LINK_TIMES_MAX: f64 = 1000.0;
