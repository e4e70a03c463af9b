//! How fast a guest writes, measured by its QEMU before a migration. Never during one: both would use the same dirty log.
//!
//! Whatever finds the written pages finds each once: a set of pages that is written again and again counts as its size, however
//! fast that goes. So it is measured over two windows. In the short one the rate shows, in the long one the size of the set.
//!
//! The main function is [`measure`]. What follows from it is decided elsewhere.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::capabilities::Capabilities;
use crate::command::{CalcDirtyRate, DirtyRateMode, DirtyRateStatus, QueryDirtyRate, TimeUnit};
use crate::limits::{
    DIRTY_RATE_PAUSE, DIRTY_RATE_SLACK, DIRTY_SAMPLE_PAGES, DIRTY_SAMPLE_PAGES_MAX, DIRTY_SAMPLE_PAGES_MIN,
    DIRTY_WINDOW_LONG, DIRTY_WINDOW_SHORT, DIRTY_WINDOWS_S,
};
use crate::qmp::{Qmp, QmpError};

/// What a guest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// In how much time.
    pub window: Duration,
    /// Bytes of the pages that it wrote, each page counted once.
    pub bytes: u64,
}

/// Why it was not measured.
#[derive(Debug, thiserror::Error)]
pub enum DirtyRateError {
    /// QEMU before 5.2.
    #[error("this QEMU cannot measure how fast its guest writes (calc-dirty-rate); use QEMU 5.2 or newer")]
    Lacks,
    /// QEMU refused, or is gone.
    #[error("QEMU does not measure how fast its guest writes")]
    Refused(#[source] QmpError),
    /// QEMU found no memory to measure.
    #[error("QEMU found no page to look at to measure how fast its guest writes")]
    Nothing,
    /// It goes on and on.
    #[error("QEMU has not measured how fast its guest writes within {after:?}")]
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
}

/// Measures over two windows, the shorter first; takes about as long as both. Changes nothing about the guest.
///
/// Under KVM the dirty ring is asked, or the dirty log, whichever this QEMU uses; pages are sampled under TCG, whose dirty log
/// finds nothing in this way, and where KVM's ways are refused.
pub async fn measure(
    qmp: &Qmp,
    capabilities: &Capabilities,
    kvm: bool,
    memory_bytes: u64,
) -> Result<[Written; 2], DirtyRateError> {
    if !capabilities.has_command("calc-dirty-rate") {
        return Err(DirtyRateError::Lacks);
    }
    let fine = capabilities.has_parameter("calc-dirty-rate", "calc-time-unit");
    let windows = match fine {
        true => [DIRTY_WINDOW_SHORT, DIRTY_WINDOW_LONG],
        false => DIRTY_WINDOWS_S.map(Duration::from_secs),
    };
    let modes: &[DirtyRateMode] = match kvm {
        true => &[DirtyRateMode::DirtyRing, DirtyRateMode::DirtyBitmap, DirtyRateMode::PageSampling],
        false => &[DirtyRateMode::PageSampling],
    };
    let mut refused = DirtyRateError::Lacks;
    for mode in modes {
        let ask = |window| calc(mode, window, fine, memory_bytes);
        match over(qmp, ask(windows[0]), windows[0]).await {
            Ok(short) => return Ok([short, over(qmp, ask(windows[1]), windows[1]).await?]),
            Err(error @ DirtyRateError::Refused(QmpError::Refused { .. })) => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

fn calc(mode: &DirtyRateMode, window: Duration, fine: bool, memory_bytes: u64) -> CalcDirtyRate {
    let (calc_time, calc_time_unit) = match fine {
        true => (u64::try_from(window.as_millis()).unwrap_or(u64::MAX), Some(TimeUnit::Millisecond)),
        false => (window.as_secs(), None),
    };
    let sample_pages = (*mode == DirtyRateMode::PageSampling).then(|| sample_pages(memory_bytes));
    CalcDirtyRate { calc_time, calc_time_unit, sample_pages, mode: mode.clone() }
}

/// Pages to hash of each GiB of a guest.
fn sample_pages(memory_bytes: u64) -> u64 {
    let gib = memory_bytes.div_ceil(1 << 30).max(1);
    (DIRTY_SAMPLE_PAGES / gib).clamp(DIRTY_SAMPLE_PAGES_MIN, DIRTY_SAMPLE_PAGES_MAX)
}

async fn over(qmp: &Qmp, calc: CalcDirtyRate, window: Duration) -> Result<Written, DirtyRateError> {
    qmp.execute(calc).await.map_err(DirtyRateError::Refused)?;
    let measured = async {
        sleep(window).await;
        loop {
            let said = qmp.execute(QueryDirtyRate).await.map_err(DirtyRateError::Refused)?;
            if said.status == DirtyRateStatus::Measured {
                return Ok(said.dirty_rate);
            }
            sleep(DIRTY_RATE_PAUSE).await;
        }
    };
    let after = window + DIRTY_RATE_SLACK;
    let rate = timeout(after, measured).await.map_err(|_elapsed| DirtyRateError::TimedOut { after })??;
    let mib_per_s = rate.and_then(|rate| u64::try_from(rate).ok()).ok_or(DirtyRateError::Nothing)?;
    let millis = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    Ok(Written { window, bytes: (mib_per_s << 20).saturating_mul(millis) / 1000 })
}

#[cfg(test)]
mod tests {
    use super::{calc, sample_pages};
    use crate::command::DirtyRateMode;
    use serde_json::json;
    use std::time::Duration;

    #[test]
    fn large_guests_are_sampled_more_thinly() {
        for (gib, expect) in [(0, 4096), (1, 4096), (2, 4096), (4, 2048), (64, 128), (1024, 128)] {
            assert_eq!(sample_pages(gib << 30), expect, "{gib} GiB");
        }
    }

    #[test]
    fn an_old_qemu_is_asked_in_seconds_and_only_samples_have_a_number() {
        let ask = |mode, fine| {
            serde_json::to_value(calc(&mode, Duration::from_secs(2), fine, 1 << 30)).expect("is JSON")
        };
        assert_eq!(
            ask(DirtyRateMode::PageSampling, true),
            json!({"calc-time": 2000, "calc-time-unit": "millisecond", "sample-pages": 4096, "mode": "page-sampling"})
        );
        assert_eq!(ask(DirtyRateMode::DirtyRing, false), json!({"calc-time": 2, "mode": "dirty-ring"}));
    }
}
