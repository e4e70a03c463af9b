//! The target of a domain that moves shut off, where it is another one than of a guest: there is no QEMU that could prove
//! anything, so the journal does, and files come in place of memory. Main functions: [`touch_down`], [`take_over`].

use std::path::Path;
use std::sync::Arc;

use api::{CopyFile, CopyRole, Offer, Outcome, Verdict};
use backon::Retryable;
use migration::handover::TargetQemu;
use migration::journal::{Carried, Offline, Opened};
use migration::owner::OwnerRecord;
use migration::phase::Phase;
use migration::target::Receiving;
use uuid::Uuid;

use super::{Arrived, Coming, Live, answer, give_up, settle_in, wait};
use crate::failure::Failure;
use crate::guest;
use crate::keeper::Reply;
use crate::landing::Landing;
use crate::limits::OWNER_TRIES_MAX;
use crate::node::Node;

/// Takes up the arrival of a domain that is shut off.
pub(super) async fn recover_shut_off(live: Box<Live>, last: Phase) -> Arrived {
    tracing::info!(migration = %live.opened.migration, ?last, "taken up again");
    if let Some(landing) = live.landing.as_ref().filter(|_| live.reached != Phase::Receiving) {
        landing.note();
    }
    let receiving = Receiving::recovered(live.record.uuid, live);
    if last == Phase::Running {
        let pledge = receiving.live.pledge();
        return settle_in(receiving.loaded().grant(pledge).running()).await;
    }
    wait(receiving).await
}

/// The files that come with a domain that is shut off can come from now on.
pub(super) fn land(node: &Arc<Node>, opened: &Opened) -> Result<Option<Arc<Landing>>, Failure> {
    let Some(offline) = &opened.offline else { return Ok(None) };
    let files = offline.files.clone();
    let landing = Arc::new(Landing::new(node, opened.migration, opened.domain, files, offline.verify)?);
    node.landings.open(&landing);
    Ok(Some(landing))
}

/// What a domain that is shut off has come to here.
pub(super) fn shut_off(landing: &Landing, reached: Phase) -> TargetQemu {
    match reached {
        Phase::Running => TargetQemu::Ran,
        Phase::Loaded => TargetQemu::Loaded,
        _ if landing.is_whole() => TargetQemu::Loaded,
        _ => TargetQemu::Incoming,
    }
}

/// What goes with the domain by the offer, and what of it lies here already.
pub(super) fn carried(node: &Node, domain: Uuid, offer: &Offer, coming: &Coming) -> Offline {
    let carried = |file: &CopyFile| Carried {
        from: String::new(),
        file: file.clone(),
        over: match &file.role {
            CopyRole::Disk { .. } | CopyRole::Backing { .. } => coming.older.contains(Path::new(&file.path)),
            // What an earlier stay of the domain has left there.
            CopyRole::Nvram => Path::new(&file.path).exists(),
            CopyRole::Tpm { name } => node.store.tpm_directory(domain).join(name).exists(),
        },
        kept: coming.kept.get(Path::new(&file.path)).cloned(),
    };
    Offline {
        files: offer.files.iter().map(carried).collect(),
        verify: offer.verify,
        formerly: offer.formerly,
        ..Offline::default()
    }
}

/// All files of a domain that is shut off are here: they get their names, and the journal remembers it.
pub(super) async fn touch_down(live: &mut Live) -> Result<(), Failure> {
    if let Some(landing) = live.landing.as_ref().filter(|_| live.reached == Phase::Receiving) {
        landing.publish().await?;
        live.journal.enter(Phase::Loaded, None).await?;
        landing.note();
        live.reached = Phase::Loaded;
        live.begun.tracker.enter(Phase::Loaded);
    }
    Ok(())
}

/// A domain that is shut off becomes this host's: there is nothing to continue, and only the journal can say so later.
pub(super) async fn take_over(mut receiving: Receiving<Box<Live>>, reply: Option<Reply<Verdict>>) -> Arrived {
    let taken = async {
        touch_down(&mut receiving.live).await?;
        receiving.live.journal.enter(Phase::Running, None).await?;
        Ok::<(), Failure>(())
    };
    if let Err(failure) = taken.await {
        return give_up(receiving, failure.chain(), reply).await;
    }
    receiving.live.reached = Phase::Running;
    answer(reply, Ok(Verdict::Running { resumed_at: None }));
    let pledge = receiving.live.pledge();
    settle_in(receiving.loaded().grant(pledge).running()).await
}

/// Writes this host into the owner record.
async fn own_shut_off(live: &Live) -> Result<(), Failure> {
    let Some(path) = live.record.owner_record.as_deref() else { return Ok(()) };
    let (host, generation) = (live.begun.node.config.host.clone(), live.pledge().generation);
    let holder = OwnerRecord { domain: live.record.uuid, host, generation, offered: None };
    let came = live.landing.as_ref().is_some_and(|landing| landing.owns(path));
    let renamed = live.opened.offline.as_ref().is_some_and(|offline| offline.formerly.is_some());
    if came || renamed {
        // What lies beside a disk that came is about an older copy of it, if anything does.
        return Ok(storage::write_record(path, &holder.to_bytes()).await?);
    }
    guest::own(Some(path), &holder).await
}

/// The domain is here for good, shut off.
pub(super) async fn arrive_shut_off(live: Live) -> Arrived {
    let tries = backon::ExponentialBuilder::default().with_max_times(OWNER_TRIES_MAX);
    if let Err(failure) = (|| own_shut_off(&live)).retry(tries).await {
        tracing::error!("the owner record does not name this host: {}", failure.chain());
    }
    let Live { begun, opened, coming, landing, .. } = live;
    begun.node.landings.close(opened.migration);
    if let Some(landing) = landing {
        landing.forget().await;
    }
    begun.tracker.end(Phase::Running, Outcome::Moved, None, None);
    Arrived::ShutOff { definition: Box::new(coming.live) }
}
