//! Post-copy as QEMU does it: the guest goes on at the target before all its memory is there, and what it touches first
//! comes first.
//!
//! The order of events, seen with QEMU 10.0.2 (TCG, return path, `pause-before-switchover`, target with `-S`):
//!
//! ```text
//! source                                          target
//! stop, migrate-start-postcopy
//!   STOP
//!   MIGRATION pre-switchover
//! migrate-continue
//!   MIGRATION device
//!   MIGRATION postcopy-active                       MIGRATION postcopy-active  (query-status: paused)
//!                                                 cont
//!                                                   RESUME
//!   MIGRATION completed                             MIGRATION completed
//!
//! the connection breaks, or migrate-pause
//!   MIGRATION postcopy-paused                       MIGRATION postcopy-paused
//!                                                 migrate-recover
//! migrate, resume
//!   MIGRATION postcopy-recover-setup
//!   MIGRATION postcopy-recover                      MIGRATION postcopy-recover
//!   MIGRATION postcopy-active                       MIGRATION postcopy-active
//! ```
//!
//! From `postcopy-active` on the source can neither be cancelled nor continued. On the target the guest stands wherever it
//! needs memory that is not there, and QEMU's main loop may stand with it: while the connection is broken nothing but
//! out-of-band commands is answered. So nothing here asks a target in band. When to switch is decided elsewhere.

use std::net::{IpAddr, SocketAddr, TcpListener};

use tokio::time::{sleep, timeout};

use super::uri;
use crate::command::{
    Migrate, MigratePause, MigrateRecover, MigrateStartPostcopy, MigrationStatus, QueryMigrate, Stop,
};
use crate::limits;
use crate::qmp::{Qmp, QmpError};

/// Why a broken post-copy migration was not taken up.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// QEMU did not do it.
    #[error("QEMU does not {step} a migration whose connection broke")]
    Step {
        /// Which.
        step: &'static str,
        /// Why.
        #[source]
        source: QmpError,
    },
    /// There is no port to listen on.
    #[error("no port is free on {address}")]
    NoPort {
        /// Where.
        address: IpAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is still sending into the broken connection.
    #[error("QEMU does not let go of a broken connection; it is tried again")]
    Holds,
}

/// Whether the guest has been handed over while memory is still to come.
pub fn has_switched(status: &MigrationStatus) -> bool {
    matches!(
        status,
        MigrationStatus::PostcopyActive
            | MigrationStatus::PostcopyPaused
            | MigrationStatus::PostcopyRecoverSetup
            | MigrationStatus::PostcopyRecover
    )
}

/// Source: stops the guest, and lets QEMU go to `pre-switchover` however much memory is left.
///
/// The guest is stopped first: a switch that fails after the target has everything would end with QEMU continuing the
/// guest here by itself, as it does with every guest that it stopped itself.
pub async fn switch(qmp: &Qmp) -> Result<(), QmpError> {
    qmp.execute(Stop).await?;
    qmp.execute(MigrateStartPostcopy).await.map(|_| ())
}

/// Source: breaks the connection, where QEMU has not noticed by itself that it is broken, and waits until it has.
pub async fn pause(qmp: &Qmp) -> Result<(), RecoverError> {
    let step = |source| RecoverError::Step { step: "pause", source };
    let pausing = async {
        loop {
            match qmp.execute(QueryMigrate).await.map_err(step)?.status {
                // Refused in the moments in which there is no connection: it is asked again.
                Some(status) if has_switched(&status) && status != MigrationStatus::PostcopyPaused => {
                    cut(qmp).await?;
                }
                _paused_or_over => return Ok(()),
            }
            sleep(limits::QUERY_MIGRATE_PAUSE).await;
        }
    };
    timeout(limits::PAUSE_TIMEOUT, pausing).await.map_err(|_elapsed| RecoverError::Holds)?
}

async fn cut(qmp: &Qmp) -> Result<(), RecoverError> {
    match qmp.execute_oob(MigratePause).await {
        Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
        Err(source) => Err(RecoverError::Step { step: "pause", source }),
    }
}

/// Target: breaks the connection, where that has not happened yet, and listens again, on another port. To be repeated at
/// will. QEMU cannot be asked which port the kernel chose, so it is given one that was free a moment ago.
pub async fn listen_again(qmp: &Qmp, address: IpAddr) -> Result<SocketAddr, RecoverError> {
    let listening = async {
        loop {
            cut(qmp).await?;
            let free = TcpListener::bind((address, 0)).and_then(|listener| listener.local_addr());
            let free = free.map_err(|source| RecoverError::NoPort { address, source })?;
            match qmp.execute_oob(MigrateRecover { uri: uri(free) }).await {
                Ok(_) => return Ok(free),
                // Not paused yet, or the port is taken.
                Err(QmpError::Refused { .. }) => sleep(limits::QUERY_MIGRATE_PAUSE).await,
                Err(source) => return Err(RecoverError::Step { step: "listen again for", source }),
            }
        }
    };
    timeout(limits::PAUSE_TIMEOUT, listening).await.map_err(|_elapsed| RecoverError::Holds)?
}

/// Source: takes a paused migration up, over a new connection. It returns at once; events tell the rest.
pub async fn resume(qmp: &Qmp, target: SocketAddr) -> Result<(), RecoverError> {
    let resume = Migrate { uri: Some(uri(target)), resume: Some(true), ..Migrate::default() };
    let resumed = qmp.execute(resume).await;
    resumed.map(|_| ()).map_err(|source| RecoverError::Step { step: "take up", source })
}
