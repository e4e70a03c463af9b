//! Emptying a host: every domain that runs there goes to another one. Main types: [`DrainRequest`], [`Drain`], and between
//! agents [`Room`] and [`Turn`].

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{MigrationRequest, Outcome, Progress};

/// `POST /drain`: move every domain that runs on this host to others. Those that are shut off stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainRequest {
    /// Name of this host, so that nobody empties another one by mistake.
    pub host: String,
    /// Hosts that may take domains in; empty is every host that this one knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// Only check where each domain would go.
    #[serde(default)]
    pub dry_run: bool,
    /// Domains that are prepared or moved at the same time; absent: a few more than may leave this host at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_once: Option<u32>,
    /// How each of them moves. Its `to` is not looked at.
    pub migration: MigrationRequest,
}

/// `GET /drain`: the emptying of a host that is under way, or was the last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drain {
    /// The host.
    pub host: String,
    /// Whether nothing is moved.
    pub dry_run: bool,
    /// Whether no further domain is begun with, because somebody wanted it so.
    pub stopping: bool,
    /// Whether it has ended.
    pub ended: bool,
    /// The domains, in the order in which they are begun with: the largest first, which are the hardest to find room for.
    pub domains: Vec<DrainedDomain>,
}

impl Drain {
    /// How it ended, by the gravest end of a domain; none while it is under way.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let has = |state| self.domains.iter().any(|domain| domain.state == state);
        if !self.ended {
            None
        } else if has(DrainState::Lost) {
            Some(Outcome::Lost)
        } else if has(DrainState::InDoubt) {
            Some(Outcome::InDoubt)
        } else if has(DrainState::Stays) {
            Some(Outcome::Kept)
        } else {
            Some(Outcome::Moved)
        }
    }
}

/// A domain of a host that is emptied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DrainedDomain {
    /// Its name.
    pub domain: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its memory in bytes.
    pub memory_bytes: u64,
    /// Where it stands.
    pub state: DrainState,
    /// Where it goes, would go, or has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Its last migration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migration: Option<Uuid>,
    /// Figures of that, while its memory goes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Why it did not go elsewhere, host by host; of a domain that was not begun with, why not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_there: Vec<NotThere>,
}

/// Why a domain did not go to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotThere {
    /// The host; absent where it is not about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Why.
    pub reason: String,
}

/// Where a domain of a host that is emptied stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DrainState {
    /// Its turn has not come.
    Waiting,
    /// It is checked whether it can go to its target.
    Checking,
    /// It is on its way.
    Moving,
    /// Nothing was moved: it could go to its target.
    Fits,
    /// It runs on its target.
    Moved,
    /// It runs here as before.
    Stays,
    /// It was pledged to its target, and the verdict is not known.
    InDoubt,
    /// Its memory is gone.
    Lost,
}

/// `POST /drain/stop`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopDrain {
    /// Whether migrations that are under way are cancelled too; else they go on to their end.
    #[serde(default)]
    pub cancel: bool,
}

/// `GET /agent/room`: what a host has for further domains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Room {
    /// `MemAvailable` in bytes.
    pub memory_available_bytes: u64,
    /// Whether it is being emptied itself and takes nothing in.
    pub draining: bool,
}

/// `POST /agent/migrations/{id}/turn`: whether what a domain has may come in now. The target answers when it may, or after a
/// while that it may not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Turn {
    /// Whether it may.
    pub granted: bool,
}

#[cfg(test)]
mod tests {
    use super::{Drain, DrainState, DrainedDomain};
    use crate::Outcome;

    fn check(states: &[DrainState], expect: Outcome) {
        let domain = |&state| DrainedDomain {
            domain: String::new(),
            uuid: uuid::Uuid::nil(),
            memory_bytes: 0,
            state,
            target: None,
            migration: None,
            progress: None,
            not_there: Vec::new(),
        };
        let mut drain = Drain { domains: states.iter().map(domain).collect(), ..Drain::default() };
        assert_eq!(drain.outcome(), None, "{states:?}");
        drain.ended = true;
        assert_eq!(drain.outcome(), Some(expect), "{states:?}");
    }

    #[test]
    fn the_gravest_end_is_the_whole_one() {
        check(&[], Outcome::Moved);
        check(&[DrainState::Moved, DrainState::Fits], Outcome::Moved);
        check(&[DrainState::Moved, DrainState::Stays], Outcome::Kept);
        check(&[DrainState::InDoubt, DrainState::Stays], Outcome::InDoubt);
        check(&[DrainState::InDoubt, DrainState::Lost, DrainState::Moved], Outcome::Lost);
    }
}
