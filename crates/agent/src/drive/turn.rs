//! The turn of a source: both hosts have a place for it before anything goes over, while all that can be prepared stands
//! ready. Main function: [`take_turn`].

use client::{Client, ClientError};
use migration::source::Reserved;
use tokio::time::timeout;
use uuid::Uuid;

use super::source::{Broken, Live};
use crate::failure::Failure;
use crate::limits::TURN_TOLD_AFTER;
use crate::turns::Leave;

/// Waits until it is this migration's turn; `broken` is what may keep it from going on meanwhile.
pub(super) async fn take_turn(
    mut reserved: Reserved<Box<Live>>,
    broken: impl Future<Output = Failure>,
) -> Result<Reserved<Box<Live>>, Broken> {
    match turn(&reserved.live, broken).await {
        Ok(leave) => {
            reserved.live.leave = Some(leave);
            Ok(reserved)
        }
        Err(failure) => Err(Box::new((reserved.keep(), failure))),
    }
}

/// Waits for a place here, and then for one on the target. Whoever has both waits for nobody, so two hosts that empty
/// themselves towards each other go on.
async fn turn(live: &Live, broken: impl Future<Output = Failure>) -> Result<Leave, Failure> {
    let word = live.reserved.as_ref().and_then(|room| room.word.clone());
    let waiting = async {
        let leave = live.begun.node.turns.leave(&live.target).await;
        if let Some(word) = &word {
            admitted(word, live.begun.tracker.id())
                .await
                .map_err(|error| Failure::of_host(&live.target, error))?;
        }
        Ok(leave)
    };
    let mut waiting = std::pin::pin!(waiting);
    let told = async {
        if let Ok(done) = timeout(TURN_TOLD_AFTER, &mut waiting).await {
            return done;
        }
        live.begun.tracker.note("other domains are on their way between these hosts; it waits for its turn");
        waiting.await
    };
    tokio::select! {
        turn = told => turn,
        failure = broken => Err(failure),
    }
}

/// Asks the target until it has a place. Where it cannot be heard, its places are not waited for: what follows finds out
/// whether it is gone, and how long it may be.
async fn admitted(target: &Client, migration: Uuid) -> Result<(), ClientError> {
    loop {
        match target.await_turn(migration).await {
            Ok(turn) if turn.granted => return Ok(()),
            Ok(_not_yet) => {}
            // An agent of a version that counts nothing.
            Err(ClientError::Problem(problem)) if problem.status == 404 && problem.code == "no-endpoint" => {
                return Ok(());
            }
            Err(error @ ClientError::Problem(_)) => return Err(error),
            Err(_cut) => return Ok(()),
        }
    }
}
