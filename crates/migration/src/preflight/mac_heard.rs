//! Rule `mac-heard`: nobody else on the networks of both hosts has one of the guest's MAC addresses.

use super::rule::{Answer, Rule, none, or_pass};

/// A bridge has heard the guest's MAC address from its network.
pub(super) static MAC_HEARD: Rule = Rule {
    code: "mac-heard",
    what: "no bridge hears the guest's MAC addresses from its network",
    why: "a switch sends the packets of two cards with one address to whoever spoke last",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        // A guest that runs is heard on the target's network, and on its own host by its tap alone.
        let hosts = std::iter::once(&facts.source).chain(Some(&target.host).filter(|_| !facts.domain.live));
        let found = hosts.flat_map(|host| {
            host.macs_heard.iter().map(move |heard| {
                let (mac, by) = (&heard.mac, &heard.by);
                let said =
                    format!("somebody with the guest's MAC address {mac} is heard on {} by {by}", host.host);
                let mend = format!(
                    "find out who it is, unless it was the guest itself some minutes ago, and give one of both another \
                     address: ferry edit {}",
                    facts.domain.name
                );
                let answer = Answer::warn(said, mend).about(mac);
                if host.host == facts.source.host { answer.between(by, "") } else { answer.between("", by) }
            })
        });
        or_pass(found.collect(), Answer::pass())
    },
};
