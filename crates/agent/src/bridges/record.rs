//! What is remembered of a bridge that Ferry made: how it is undone, and until when it must be confirmed. It is written
//! before anything is changed, so that whoever comes after a killed agent can undo it. Main type: [`BridgeRecord`].

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use network::{Native, Takeover};
use serde::{Deserialize, Serialize};

/// A bridge that Ferry made, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BridgeRecord {
    /// The bridge.
    pub(crate) name: String,
    /// The uplink as it was named.
    pub(crate) uplink: String,
    /// The VLAN of the uplink that it carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) vlan: Option<u16>,
    /// The bridge's port that leads to the network: the uplink, or the VLAN's link.
    pub(crate) port: String,
    /// The boot of this host in which it was made: links do not outlive it.
    pub(crate) boot_id: String,
    /// What was done, in order; where something configures the host's links, what it was to do.
    pub(crate) takeover: Takeover,
    /// How it is configured by what configures its uplink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) native: Option<Native>,
    /// The link whose place it takes: the uplink, or a VLAN of it that had a link already.
    pub(crate) replaced: String,
    /// The addresses that are to be on the bridge, and on that link again when it is undone.
    pub(crate) addresses: Vec<IpAddr>,
    /// Whether it is just being made or removed. Whoever finds it so in the record of an earlier agent undoes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) unfinished: bool,
    /// Until when it is to be confirmed; none once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) confirm_by: Option<Deadline>,
    /// Hosts that were reached before it was made and are not since.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lost: Vec<String>,
}

impl BridgeRecord {
    /// For how long it stays; none where that is for good.
    pub(crate) fn left(&self) -> Option<Duration> {
        if self.unfinished {
            return Some(Duration::ZERO);
        }
        let deadline = self.confirm_by.as_ref()?;
        // Whoever boots a host does so to get it back. And without a clock its time is over: a host that is cut off
        // cannot be asked.
        let uptime = host::uptime().ok().filter(|_| self.is_of_this_boot());
        Some(uptime.map_or(Duration::ZERO, |uptime| deadline.left(uptime)))
    }

    /// Whether the bridge has the addresses of its port: not where that is a VLAN's new link.
    pub(crate) fn takes_over(&self) -> bool {
        self.replaced == self.port
    }

    /// Whether anything of it can be there.
    pub(crate) fn can_be_there(&self) -> bool {
        self.native.is_some() || self.is_of_this_boot()
    }

    fn is_of_this_boot(&self) -> bool {
        host::boot_id().is_ok_and(|id| id == self.boot_id)
    }
}

/// When an unconfirmed bridge is undone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Deadline {
    /// By the host's uptime, in milliseconds: this decides.
    uptime_ms: u64,
    /// By its clock, for people.
    pub(crate) at: Timestamp,
}

impl Deadline {
    /// In a while, from `uptime` and `now` on.
    pub(crate) fn within(span: Duration, uptime: Duration, now: Timestamp) -> Deadline {
        let at = now.checked_add(span).unwrap_or(Timestamp::MAX);
        let uptime_ms = u64::try_from((uptime + span).as_millis()).unwrap_or(u64::MAX);
        Deadline { uptime_ms, at }
    }

    /// How long there is still time.
    pub(crate) fn left(&self, uptime: Duration) -> Duration {
        Duration::from_millis(self.uptime_ms).saturating_sub(uptime)
    }
}

#[cfg(test)]
mod tests {
    use super::Deadline;
    use jiff::Timestamp;
    use std::time::Duration;

    #[test]
    fn what_is_left_is_told_by_the_uptime() {
        let s = Duration::from_secs;
        let deadline = Deadline::within(s(30), s(100), Timestamp::UNIX_EPOCH);
        assert_eq!(deadline.at.to_string(), "1970-01-01T00:00:30Z");
        assert_eq!(deadline.left(s(100)), s(30));
        assert_eq!(deadline.left(s(129)), s(1));
        assert_eq!(deadline.left(s(131)), s(0));
    }
}
