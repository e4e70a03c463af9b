//! How many domains may be on their way at once: from this host, to this host, and from here to one other host. What is
//! beyond that waits in order. Main type: [`Turns`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::config::Config;

/// The places for domains on their way.
pub(crate) struct Turns {
    out: Arc<Semaphore>,
    incoming: Arc<Semaphore>,
    to_host_max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    to_host: HashMap<String, Arc<Semaphore>>,
    /// Of migrations to here that may send.
    granted: HashMap<Uuid, OwnedSemaphorePermit>,
}

/// A place for a domain that leaves; given back when it is dropped.
pub(crate) struct Leave {
    _out: OwnedSemaphorePermit,
    _to_host: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new(config: &Config) -> Turns {
        Turns {
            out: Arc::new(Semaphore::new(config.transfers_out_max.get())),
            incoming: Arc::new(Semaphore::new(config.transfers_in_max.get())),
            to_host_max: config.transfers_to_host_max.get(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place to leave for `target`. First the one of the link, so that who waits for a slow link keeps nobody from the others.
    pub(crate) async fn leave(&self, target: &str) -> Leave {
        let to_host = {
            let mut state = self.state();
            let places = || Arc::new(Semaphore::new(self.to_host_max));
            Arc::clone(state.to_host.entry(target.to_owned()).or_insert_with(places))
        };
        let to_host = acquire(to_host).await;
        Leave { _out: acquire(Arc::clone(&self.out)).await, _to_host: to_host }
    }

    /// A place for a migration to here, until [`Turns::ended`]; the same one however often it is asked for.
    pub(crate) async fn enter(&self, migration: Uuid) {
        if self.state().granted.contains_key(&migration) {
            return;
        }
        let place = acquire(Arc::clone(&self.incoming)).await;
        self.state().granted.insert(migration, place);
    }

    /// A migration to here has ended.
    pub(crate) fn ended(&self, migration: Uuid) {
        self.state().granted.remove(&migration);
    }
}

async fn acquire(places: Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.acquire_owned().await.expect("the places are never closed")
}

#[cfg(test)]
mod tests {
    use super::Turns;
    use futures_util::FutureExt;
    use uuid::Uuid;

    fn turns(out: usize, incoming: usize, to_host: usize) -> Turns {
        let config = format!(
            "host = \"a\"\ntransfers_out_max = {out}\ntransfers_in_max = {incoming}\ntransfers_to_host_max = {to_host}"
        );
        Turns::new(&toml::from_str(&config).unwrap())
    }

    #[test]
    fn who_waits_for_a_link_keeps_nobody_from_another() {
        let turns = turns(2, 1, 1);
        let first = turns.leave("b").now_or_never();
        assert!(first.is_some());
        assert!(turns.leave("b").now_or_never().is_none(), "the link to b is taken");
        let other = turns.leave("c").now_or_never();
        assert!(other.is_some());
        assert!(turns.leave("d").now_or_never().is_none(), "two have left already");
        drop(first);
        assert!(turns.leave("b").now_or_never().is_some());
    }

    #[test]
    fn a_place_here_is_held_until_the_migration_has_ended() {
        let turns = turns(1, 1, 1);
        let [one, other] = [1, 2].map(Uuid::from_u128);
        assert!(turns.enter(one).now_or_never().is_some());
        assert!(turns.enter(one).now_or_never().is_some(), "it is asked again where an answer was lost");
        assert!(turns.enter(other).now_or_never().is_none());
        turns.ended(one);
        assert!(turns.enter(other).now_or_never().is_some());
        turns.ended(one);
        assert!(turns.enter(one).now_or_never().is_none(), "what ended twice gives one place back");
    }
}
