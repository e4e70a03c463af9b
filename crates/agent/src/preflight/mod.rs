//! The preflight on this host: gathers the facts that `migration::preflight` judges, of this host as a source and as a
//! target, all at once and each within its time. It changes nothing: a nonce that it writes is removed again. Main
//! functions: [`check`] and [`facts`], the two halves of a check; [`take_in`], the target's own judgement of an offer.

mod bridges;
mod disks;
mod domain;
mod door;
mod host;
mod macs;
mod nfs;
mod nonces;
mod offer;
mod places;
mod qemu;
mod source;
mod target;

pub(crate) use self::domain::agent_channel;
pub(crate) use host::machine;
pub(crate) use nonces::sweep;
pub(crate) use offer::take_in;
pub(crate) use source::{check, check_first, permitted};
pub(crate) use target::facts;

use std::time::Duration;

use ::api::UnknownFact;

use crate::failure::chain;
use crate::limits::FACT_TIMEOUT;

/// Finds something out within its time; else says what could not be found out and why.
async fn within<T, E: std::error::Error>(
    what: &str,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, UnknownFact> {
    let unknown = |reason: String| UnknownFact { what: what.to_owned(), reason };
    match tokio::time::timeout(FACT_TIMEOUT, asked).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(unknown(chain(&error))),
        Err(_elapsed) => Err(unknown(no_answer(FACT_TIMEOUT))),
    }
}

fn no_answer(after: Duration) -> String {
    format!("no answer within {} s", after.as_secs())
}

/// What was found, where it was; else it goes to what is unknown.
fn known<T>(found: Result<T, UnknownFact>, unknown: &mut Vec<UnknownFact>) -> Option<T> {
    found.map_err(|fact| unknown.push(fact)).ok()
}
