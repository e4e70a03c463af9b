//! Reboot and reset. QEMU has no word for an orderly reboot: the guest is asked to power itself off, stays instead of
//! ending, and is booted again. A new agent goes on with a reboot that it finds under way.

use std::time::Duration;

use domain::Definition;
use qemu::command::{Cont, QueryStatus, RunState, SetAction, SystemPowerdown, SystemReset};
use qemu::process::Process;
use qemu::qmp::Event;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until, timeout};

use super::{Keeper, Reply, State};
use crate::failure::Failure;
use crate::limits::{QUIT_TIMEOUT, REBOOT_TIMEOUT};
use crate::tracker::now;

/// Stands in the run directory while a reboot is under way.
const MARK: &str = "reboot.json";

/// A reboot that was asked for and has not happened yet.
pub(super) struct Reboot {
    events: Receiver<Event>,
    until: Instant,
    within: Duration,
    reply: Option<Reply<api::Domain>>,
    /// Begun by an earlier agent: the guest may have powered itself off while nobody listened.
    found: bool,
}

/// What became of a reboot.
pub(super) enum Seen {
    /// The guest has powered itself off and stands still.
    PoweredOff,
    /// It was reset by somebody else.
    Reset,
    /// Nothing, and the time is over.
    Nothing,
}

impl Reboot {
    /// Waits until there is something to do about it. Cancel safe.
    pub(super) async fn seen(reboot: &mut Option<Reboot>) -> Seen {
        let Some(reboot) = reboot else { return std::future::pending().await };
        loop {
            tokio::select! {
                event = reboot.events.recv() => match event {
                    Ok(event) if event.name == "SHUTDOWN" => return Seen::PoweredOff,
                    Ok(event) if event.name == "RESET" => return Seen::Reset,
                    // What was missed is seen when the time is over.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return std::future::pending().await,
                },
                () = sleep_until(reboot.until) => return Seen::Nothing,
            }
        }
    }

    /// Answers whoever waits for it.
    pub(super) fn answer(self, answer: Result<api::Domain, Failure>) {
        if let Some(reply) = self.reply {
            _ = reply.send(answer);
        }
    }
}

impl Keeper {
    pub(super) async fn reset(&mut self) -> Result<api::Domain, Failure> {
        self.active()?.process.qmp.execute(SystemReset).await?;
        Ok(self.show().await)
    }

    /// Asks the guest to shut itself down, to be booted again. Answers when that has happened, or at once.
    pub(super) async fn reboot(&mut self, within: Duration, reply: Reply<api::Domain>) {
        let begun = self.begin_reboot().await;
        let wait = !within.is_zero();
        match (begun, &mut self.state) {
            (Ok(events), State::Active { reboot, .. }) => {
                let (within, reply, answer) =
                    if wait { (within, Some(reply), None) } else { (REBOOT_TIMEOUT, None, Some(reply)) };
                *reboot =
                    Some(Reboot { events, until: Instant::now() + within, within, reply, found: false });
                if let Some(reply) = answer {
                    _ = reply.send(Ok(self.show().await));
                }
            }
            (Ok(_), _) => unreachable!("begin_reboot() has just asked its QEMU"),
            (Err(failure), _) => _ = reply.send(Err(failure)),
        }
    }

    async fn begin_reboot(&mut self) -> Result<Receiver<Event>, Failure> {
        self.active()?;
        let State::Active { guest, reboot, .. } = &self.state else { unreachable!("active() has said so") };
        if reboot.is_some() {
            return Err(self.wrong_state("rebooting already", "wait for it; `ferry reset` does not wait"));
        }
        if !guest.process.qmp.execute(QueryStatus).await?.running {
            let mend = "`ferry resume` lets it go on; `ferry reset` boots it again without asking it";
            return Err(self.wrong_state("not running, so it hears nothing", mend));
        }
        let events = guest.process.qmp.events();
        self.node.store.write_run(self.uuid, MARK, &now())?;
        let asked = async {
            guest.process.qmp.execute(SetAction::PAUSE).await?;
            guest.process.qmp.execute(SystemPowerdown).await
        };
        match asked.await {
            Ok(_) => Ok(events),
            Err(error) => {
                self.end_reboot(&guest.process, &guest.definition).await;
                Err(error.into())
            }
        }
    }

    /// From now on the guest ends when it powers itself off, as its definition has it.
    async fn end_reboot(&self, process: &Process, definition: &Definition) {
        if let Err(error) = process.qmp.execute(SetAction::of(definition.domain().on_poweroff)).await {
            tracing::warn!(domain = self.name, "the guest will stay, stopped, when it powers off: {error}");
        }
        if let Err(error) = self.node.store.remove_run(self.uuid, MARK) {
            tracing::warn!(domain = self.name, "the mark of a reboot was left behind: {error}");
        }
    }

    /// What is under way when a guest is taken up.
    pub(super) fn reboot_found(&self, process: &Process) -> Option<Reboot> {
        let marked: Option<String> = self.node.store.read_run(self.uuid, MARK).unwrap_or_default();
        marked.map(|_since| Reboot {
            events: process.qmp.events(),
            until: Instant::now(),
            within: REBOOT_TIMEOUT,
            reply: None,
            found: true,
        })
    }

    pub(super) async fn rebooting(&mut self, seen: Seen) {
        let State::Active { guest, reboot: pending, .. } = &mut self.state else { return };
        let Some(mut reboot) = pending.take() else { return };
        let stands = match guest.process.qmp.execute(QueryStatus).await {
            Ok(status) => status.status == RunState::Shutdown,
            Err(_gone) => false,
        };
        if matches!(seen, Seen::Nothing) && !stands && reboot.found {
            *pending = Some(Reboot { until: Instant::now() + reboot.within, found: false, ..reboot });
            return;
        }
        let State::Active { guest, .. } = &self.state else { return };
        let booted = match seen {
            Seen::PoweredOff | Seen::Nothing if stands => {
                boot_again(&guest.process, &mut reboot.events).await
            }
            Seen::PoweredOff | Seen::Reset => Ok(()),
            Seen::Nothing => Err(Failure::RebootTimedOut { domain: self.name.clone(), after: reboot.within }),
        };
        self.end_reboot(&guest.process, &guest.definition).await;
        let answer = match booted {
            Ok(()) => Ok(self.show().await),
            Err(failure) => {
                tracing::warn!(domain = self.name, "not rebooted: {}", failure.chain());
                Err(failure)
            }
        };
        reboot.answer(answer);
    }

    /// A word that overtakes a reboot.
    pub(super) async fn give_reboot_up(&mut self) {
        let State::Active { reboot, .. } = &mut self.state else { return };
        let Some(given_up) = reboot.take() else { return };
        let State::Active { guest, .. } = &self.state else { return };
        self.end_reboot(&guest.process, &guest.definition).await;
        let mend = "`ferry start` boots it again when it has ended";
        given_up.answer(Err(self.wrong_state("to be shut down instead", mend)));
    }
}

/// Boots a guest that has powered itself off and was kept.
async fn boot_again(process: &Process, events: &mut Receiver<Event>) -> Result<(), Failure> {
    process.qmp.execute(SystemReset).await?;
    let reset = async {
        loop {
            match events.recv().await {
                Ok(event) if event.name == "RESET" => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    };
    // `cont` is refused before the reset is done; where it never is, the refusal says so.
    _ = timeout(QUIT_TIMEOUT, reset).await;
    process.qmp.execute(Cont).await?;
    Ok(())
}
