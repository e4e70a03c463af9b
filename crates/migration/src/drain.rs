//! Where the domains of a host go that is to be emptied. Pure: free memory in, a host out; whether a domain may go there is
//! the preflight's. Main type: [`Rooms`].

use std::collections::{BTreeMap, BTreeSet};

/// Free memory of the hosts that take domains in, less what is on its way to each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rooms {
    /// In bytes; negative where more was sent than was free, unknown where a host does not say.
    free_bytes: BTreeMap<String, Option<i128>>,
}

impl Rooms {
    /// The hosts, each with its free memory in bytes where that is known.
    pub fn new(hosts: impl IntoIterator<Item = (String, Option<u64>)>) -> Rooms {
        Rooms { free_bytes: hosts.into_iter().map(|(host, free)| (host, free.map(i128::from))).collect() }
    }

    /// The host with the most free memory that was not tried, less `memory_bytes` from now on; hosts that do not say what they
    /// have come last. A domain that fits nowhere is given a host all the same: the preflight says what is missing there.
    pub fn take(&mut self, memory_bytes: u64, tried: &BTreeSet<String>) -> Option<String> {
        let untried = self.free_bytes.iter_mut().filter(|(host, _)| !tried.contains(*host));
        // The first of equals by name, so that the same hosts give the same answer.
        let (host, free) = untried.rev().max_by_key(|(_, free)| **free)?;
        if let Some(free) = free {
            *free -= i128::from(memory_bytes);
        }
        Some(host.clone())
    }

    /// A domain does not go there after all.
    pub fn give_back(&mut self, host: &str, memory_bytes: u64) {
        if let Some(Some(free)) = self.free_bytes.get_mut(host) {
            *free += i128::from(memory_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rooms;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn check(hosts: &[(&str, Option<u64>)], memory_bytes: &[u64], expect: &[&str]) {
        let mut rooms = Rooms::new(hosts.iter().map(|&(host, free)| (host.to_owned(), free)));
        let taken: Vec<_> =
            memory_bytes.iter().map(|&memory| rooms.take(memory, &BTreeSet::new()).unwrap()).collect();
        assert_eq!(taken, expect, "{hosts:?}");
    }

    #[test]
    fn the_host_with_the_most_room_comes_first() {
        check(&[("a", Some(8)), ("b", Some(5))], &[4, 4, 1, 1], &["a", "b", "a", "a"]);
        check(&[("a", Some(5)), ("b", Some(5))], &[4, 4], &["a", "b"]);
        check(&[("a", None), ("b", Some(1))], &[4, 4], &["b", "b"]);
        check(&[("a", None)], &[4], &["a"]);
    }

    #[test]
    fn a_host_that_was_tried_is_not_given_again() {
        let mut rooms = Rooms::new([("a".to_owned(), Some(8)), ("b".to_owned(), Some(5))]);
        let mut tried = BTreeSet::new();
        for expect in [Some("a"), Some("b"), None] {
            let host = rooms.take(1, &tried);
            assert_eq!(host.as_deref(), expect);
            tried.extend(host);
        }
    }

    proptest! {
        #[test]
        fn what_is_given_back_is_there_again(
            free in prop::collection::btree_map("[a-c]", prop::option::of(0u64..100), 1..4),
            memory in prop::collection::vec(0u64..100, 1..20),
        ) {
            let before = Rooms::new(free);
            let mut rooms = before.clone();
            let taken: Vec<_> =
                memory.iter().map(|&memory| (rooms.take(memory, &BTreeSet::new()).unwrap(), memory)).collect();
            taken.iter().for_each(|(host, memory)| rooms.give_back(host, *memory));
            prop_assert_eq!(rooms, before);
        }
    }
}
