//! Power: create, start, shutdown, destroy, suspend, resume, and what follows when a QEMU ends by itself.

use std::time::Duration;

use api::EventKind;
use domain::Definition;
use qemu::command::{Cont, Stop, SystemPowerdown};
use tokio::time::timeout;

use super::told::Ears;
use super::{Ask, Keeper, Reply, State};
use crate::failure::Failure;
use crate::guest::{self, Guest};
use crate::limits::QUIT_TIMEOUT;
use crate::node::Node;

impl Keeper {
    pub(super) fn activate(&mut self, guest: Box<Guest>) {
        let reboot = self.reboot_found(&guest.process);
        let ears = Ears::of(&guest.process);
        self.state = State::Active { guest, ears, detaching: Vec::new(), shutdowns: Vec::new(), reboot };
    }

    pub(super) async fn start(&mut self) -> Result<api::Domain, Failure> {
        self.free()?;
        if let State::Active { .. } = self.state {
            return Err(self.wrong_state("running already", "`ferry info` shows it"));
        }
        if let Some(moved) = &self.record.moved {
            return Err(Failure::MovedAway { domain: self.name.clone(), to: moved.host.clone() });
        }
        let definition = self.definition.as_ref().ok_or_else(|| Failure::DomainNotFound {
            domain: self.name.clone(),
            host: self.node.config.host.clone(),
        })?;
        let guest = guest::start(&self.node, definition).await?;
        Ok(self.started(guest).await)
    }

    /// Starts a domain whose definition is not kept.
    pub(super) async fn create(&mut self, definition: Definition) -> Result<api::Domain, Failure> {
        self.free()?;
        if let State::Active { .. } = self.state {
            return Err(self.wrong_state("running already", "`ferry info` shows it"));
        }
        if self.definition.is_some() {
            return Err(self.wrong_state("defined here", "`ferry start` starts it as it is defined"));
        }
        let guest = guest::start(&self.node, &definition).await?;
        Ok(self.started(guest).await)
    }

    async fn started(&mut self, guest: Guest) -> api::Domain {
        tracing::info!(domain = self.name, pid = guest.process.pid(), "started");
        self.activate(Box::new(guest));
        self.tell(EventKind::Started, None);
        self.show().await
    }

    pub(super) async fn shutdown(&mut self, wait: bool, reply: Reply<api::Domain>) {
        self.give_reboot_up().await;
        let asked = match self.active() {
            Ok(guest) => guest.process.qmp.execute(SystemPowerdown).await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match (asked, &mut self.state) {
            (Ok(_), State::Active { shutdowns, .. }) if wait => shutdowns.push(reply),
            (Ok(_), _) => _ = reply.send(Ok(self.show().await)),
            (Err(failure), _) => _ = reply.send(Err(failure)),
        }
    }

    pub(super) async fn destroy(&mut self) -> Result<api::Domain, Failure> {
        let guest = self.active()?;
        guest.process.kill();
        if timeout(QUIT_TIMEOUT, guest.process.exited()).await.is_err() {
            return Err(self
                .wrong_state("not ending: QEMU hangs in the kernel", "look at its storage, then ask again"));
        }
        self.exited(EventKind::Stopped, "destroyed".into()).await;
        Ok(self.show().await)
    }

    pub(super) async fn suspend(&mut self) -> Result<api::Domain, Failure> {
        self.active()?.process.qmp.execute(Stop).await?;
        Ok(self.show().await)
    }

    pub(super) async fn resume(&mut self) -> Result<api::Domain, Failure> {
        self.active()?.process.qmp.execute(Cont).await?;
        Ok(self.show().await)
    }

    pub(super) async fn exited(&mut self, kind: EventKind, reason: String) {
        let shut_off = State::ShutOff { reason: Some(reason.clone()) };
        let State::Active { guest, shutdowns, detaching, reboot, .. } =
            std::mem::replace(&mut self.state, shut_off)
        else {
            return;
        };
        tracing::info!(domain = self.name, reason, "its QEMU has ended");
        guest::give_back(&self.node, &guest.record, None).await;
        self.tell(kind, reason);
        if self.definition.is_none() {
            self.release(&guest.definition).await;
        }
        if let Some(reboot) = reboot {
            reboot.answer(Ok(self.show().await));
        }
        // With the guest every device has gone.
        let waiting = shutdowns.into_iter().chain(detaching.into_iter().map(|asked| asked.reply));
        for reply in waiting {
            let shown = self.show().await;
            _ = reply.send(Ok(shown));
        }
    }
}

/// Waits for a shutdown, but not for ever.
pub(crate) async fn shutdown(node: &Node, domain: &str, after: Duration) -> Result<api::Domain, Failure> {
    let wait = !after.is_zero();
    let asked = node.ask(domain, |reply| Ask::Shutdown { wait, reply });
    if !wait {
        return asked.await;
    }
    let waited = timeout(after, asked).await;
    waited.unwrap_or_else(|_elapsed| Err(Failure::ShutdownTimedOut { domain: domain.to_owned(), after }))
}
