//! Brings a live migration to its end: shows the policy what each round leaves, and does what it decides. It decides nothing
//! itself (`migration::convergence` does), and it ends nothing: what is given up is a [`Failure`]. Main type: [`Converging`].

use api::{Decided, Decision, MigrationRequest, Settings};
use migration::convergence::{Policy, Round, sentence, stuck, xbzrle_cache_bytes};
use qemu::capabilities::Capabilities;
use qemu::command::{
    MigrateSetParameters, MigrationCapability, MigrationInfo, MigrationParameters, QueryMigrate, Stop,
};
use qemu::migrate::throttle;
use qemu::process::Process;
use tokio::time::{Instant, Interval, sleep_until};

use super::source::Live;
use super::watch::ticks;
use crate::failure::{ConvergeFailure, Failure};
use crate::limits::{PROGRESS_EVERY, ROUND_LOOK_AFTER};
use crate::plan::allowed;
use crate::tracker::Tracker;

/// What somebody wants of a live migration while its memory goes over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Steer {
    /// Changed limits.
    Set(Settings),
    /// The end, whatever the blackout.
    SwitchOver,
}

/// What only this QEMU and this host decide, at the start of an attempt.
pub(super) struct Equipment {
    /// Size of the cache for page differences; none where they are not sent.
    pub(super) xbzrle_cache_bytes: Option<u64>,
    /// Whether the guest can be slowed down.
    pub(super) auto_converge: bool,
    /// Whether QEMU takes a rate to reckon with at switchover.
    switchover_bandwidth: bool,
}

impl Equipment {
    pub(super) fn of(
        capabilities: &Capabilities,
        request: &MigrationRequest,
        memory_bytes: u64,
    ) -> Result<Equipment, Failure> {
        let xbzrle =
            request.channels <= 1 && capabilities.has_migrate_capability(&MigrationCapability::Xbzrle);
        let cache = match xbzrle {
            true => xbzrle_cache_bytes(memory_bytes, host::Facts::read()?.memory_available),
            false => None,
        };
        Ok(Equipment {
            xbzrle_cache_bytes: cache,
            auto_converge: capabilities.has_migrate_capability(&MigrationCapability::AutoConverge),
            switchover_bandwidth: capabilities
                .has_parameter("migrate-set-parameters", "avail-switchover-bandwidth"),
        })
    }

    /// What QEMU is told before memory goes over. All of it: a QEMU keeps what its last attempt set.
    fn parameters(&self, request: &MigrationRequest, policy: &Policy) -> MigrationParameters {
        let throttle = if self.auto_converge { throttle(0) } else { MigrationParameters::default() };
        MigrationParameters {
            // QEMU's own default is 128 MiB/s; 0 takes every limit away.
            max_bandwidth: Some(request.bandwidth_bytes_per_s),
            max_postcopy_bandwidth: Some(request.bandwidth_bytes_per_s),
            downtime_limit: Some(policy.blackout_ms()),
            avail_switchover_bandwidth: self.switchover_bandwidth.then_some(0),
            xbzrle_cache_size: self.xbzrle_cache_bytes,
            ..throttle
        }
    }
}

/// A migration on its way to its end.
pub(super) struct Converging {
    policy: Policy,
    equipment: Equipment,
    process: Process,
    tracker: Tracker,
    began: Instant,
    /// The round that has begun last.
    round: u64,
    /// When it is to be looked at; none once it was.
    look_at: Option<Instant>,
    ticks: Interval,
}

impl Converging {
    /// Tells QEMU where it begins, just before memory goes over.
    pub(super) async fn begin(
        live: &Live,
        request: &MigrationRequest,
        equipment: Equipment,
    ) -> Result<Converging, Failure> {
        let process = live.process.clone().ok_or(Failure::SourceQemuGone)?;
        let mut allowed = allowed(request);
        allowed.xbzrle = equipment.xbzrle_cache_bytes.is_some() && equipment.switchover_bandwidth;
        if !equipment.auto_converge {
            allowed.throttle_percent_max = 0;
        }
        let policy = Policy::new(allowed, request.on_stuck);
        let parameters = equipment.parameters(request, &policy);
        process.qmp.execute(MigrateSetParameters { parameters }).await?;
        Ok(Converging {
            policy,
            equipment,
            process,
            tracker: live.begun.tracker.clone(),
            began: Instant::now(),
            round: 1,
            look_at: None,
            ticks: ticks(PROGRESS_EVERY),
        })
    }

    /// A round has begun. It is looked at a moment later: where it was the last one, QEMU is stopping the guest now, and every
    /// question would lie in the blackout.
    pub(super) fn passed(&mut self, round: u64) {
        self.round = round;
        self.look_at.get_or_insert_with(|| Instant::now() + ROUND_LOOK_AFTER);
    }

    /// Waits until there is something to look at. Cancel safe.
    pub(super) async fn due(&mut self) {
        match self.look_at {
            Some(at) => sleep_until(at).await,
            None => _ = self.ticks.tick().await,
        }
    }

    /// Looks, and does what follows.
    pub(super) async fn look(&mut self) -> Result<(), Failure> {
        let decided = if self.look_at.take().is_some() {
            let info = self.process.qmp.execute(QueryMigrate).await?;
            let Some(seen) = self.seen(&info) else { return Ok(()) };
            self.policy.round(&seen)
        } else {
            let Some(figures) = self.tracker.figures() else { return Ok(()) };
            self.policy.tick(self.round, self.began.elapsed(), figures.sent_bytes)
        };
        self.carry_out(decided).await
    }

    /// Does what somebody wants.
    pub(super) async fn steer(&mut self, steer: Steer) -> Result<(), Failure> {
        let decided = match steer {
            Steer::Set(settings) => {
                if let Some(bytes_per_s) = settings.bandwidth_bytes_per_s {
                    let limit = Some(bytes_per_s);
                    self.tell(MigrationParameters {
                        max_bandwidth: limit,
                        max_postcopy_bandwidth: limit,
                        ..MigrationParameters::default()
                    })
                    .await?;
                    self.tracker.note(match bytes_per_s {
                        0 => "bandwidth is without limit now, as somebody wants it".to_owned(),
                        _ => format!(
                            "bandwidth is {bytes_per_s} bytes per second at most now, as somebody wants it"
                        ),
                    });
                }
                let throttle_percent_max =
                    settings.throttle_percent_max.filter(|_| self.equipment.auto_converge);
                let settings = Settings { throttle_percent_max, ..settings };
                self.policy.set(&settings, self.round, self.began.elapsed())
            }
            Steer::SwitchOver => self.policy.suspend(self.round, self.began.elapsed()).into_iter().collect(),
        };
        self.carry_out(decided).await
    }

    async fn carry_out(&self, decided: Vec<Decided>) -> Result<(), Failure> {
        for it in decided {
            match it.decision {
                Decision::Blackout { ms } => {
                    let limit =
                        MigrationParameters { downtime_limit: Some(ms), ..MigrationParameters::default() };
                    self.tell(limit).await?;
                }
                Decision::SwitchoverBandwidth { bytes_per_s } => {
                    let rate = MigrationParameters {
                        avail_switchover_bandwidth: Some(bytes_per_s),
                        ..MigrationParameters::default()
                    };
                    self.tell(rate).await?;
                }
                Decision::Throttle { percent } => self.tell(throttle(percent)).await?,
                // It is QEMU's to go on with it: here it is continued only where the migration fails.
                Decision::Suspend => _ = self.process.qmp.execute(Stop).await?,
                Decision::Keep => {}
            }
            self.tracker.note(sentence(&it));
            let (keep, reason) = (it.decision == Decision::Keep, it.reason);
            self.tracker.record(|report| report.decisions.push(it));
            if keep {
                return Err(ConvergeFailure::Stuck { reason: stuck(&reason) }.into());
            }
        }
        Ok(())
    }

    async fn tell(&self, parameters: MigrationParameters) -> Result<(), Failure> {
        self.process.qmp.execute(MigrateSetParameters { parameters }).await?;
        Ok(())
    }

    fn seen(&self, info: &MigrationInfo) -> Option<Round> {
        let ram = info.ram.as_ref()?;
        let page_bytes = ram.page_size.unwrap_or(4096);
        let pages = ram.normal.unwrap_or(0) + info.xbzrle_cache.map_or(0, |cache| cache.pages);
        Some(Round {
            round: self.round,
            elapsed: self.began.elapsed(),
            left_bytes: ram.remaining,
            sent_bytes: ram.transferred,
            pages_bytes: pages * page_bytes,
            dirty_bytes_per_s: ram.dirty_pages_rate.unwrap_or(0) * page_bytes,
            throttle_percent: u8::try_from(info.cpu_throttle_percentage.unwrap_or(0)).unwrap_or(100),
        })
    }
}
