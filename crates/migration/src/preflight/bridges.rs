//! The bridges of a guest's interfaces, as the rules about them look at them: each of the target once, or each with the
//! source's. It judges nothing. Main functions: [`each_there`], [`each_pair`].

use api::BridgeFacts;

use super::Facts;
use super::rule::Answer;

/// Asks about each bridge of the target once.
pub(super) fn each_there(
    facts: &Facts,
    judge: impl Fn(&str, &str, &BridgeFacts) -> Option<Answer>,
) -> Vec<Answer> {
    let bridges = facts.told().map(|target| target.host.bridges.as_slice()).unwrap_or_default();
    let first = |place: usize| !bridges[..place].iter().any(|other| other.name == bridges[place].name);
    let named = bridges.iter().enumerate().filter(|(place, _)| first(*place)).map(|(_, bridge)| bridge);
    named
        .filter_map(|bridge| Some(judge(&facts.target_name, &bridge.name, bridge)?.about(&bridge.name)))
        .collect()
}

/// Compares the bridges of each interface, once for each pair, where both are there.
pub(super) fn each_pair(
    facts: &Facts,
    judge: impl Fn(&BridgeFacts, &BridgeFacts) -> Option<Answer>,
) -> Vec<Answer> {
    let there = facts.told().map(|target| target.host.bridges.as_slice()).unwrap_or_default();
    let mut pairs: Vec<(&BridgeFacts, &BridgeFacts)> = Vec::new();
    // Both in the order of the definition; a copy has cards of its own.
    for (here, there) in facts.source.bridges.iter().zip(there) {
        let known = pairs.iter().any(|(_, known)| known.name == there.name);
        if here.fault.is_none() && there.fault.is_none() && !known {
            pairs.push((here, there));
        }
    }
    pairs.into_iter().filter_map(|(here, there)| Some(judge(here, there)?.about(&there.name))).collect()
}
