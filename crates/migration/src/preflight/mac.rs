//! Rule `mac-in-use`: nobody on the target has one of the guest's MAC addresses.

use super::rule::{Answer, Rule, none, or_pass};

/// Somebody on the target has a MAC address of the guest.
pub(super) static MAC_IN_USE: Rule = Rule {
    code: "mac-in-use",
    what: "the guest's MAC addresses are free on the target",
    why: "a bridge sends the packets of two cards with one address to whoever spoke last",
    needed: false,
    judge: |facts| {
        let Some(target) = facts.told() else { return none() };
        let found = target.macs_taken.iter().map(|taken| {
            let (mac, by) = (&taken.mac, &taken.by);
            let said = format!("the guest's MAC address {mac} is in use on {} by {by}", facts.target_name);
            let mend = format!(
                "give the other one an address of its own: ferry --host ssh://{} edit DOMAIN",
                facts.target_name
            );
            Answer::fail(said, mend).between(mac, by).about(mac)
        });
        or_pass(found.collect(), Answer::pass().between("the guest's", "free"))
    },
};
