//! Examples of facts: two hosts as alike as two hosts are, and what is changed for every way to break a rule. Tests judge
//! them, and `docs/preflight.md` is made of them. Main functions: [`pair()`], [`changed`], [`document`].

mod cases;
mod document;
mod pair;

use super::Facts;

pub use cases::{Case, cases};
pub use document::document;
pub use pair::{copied, flattened, kvm, missing, other_ways, pair};

/// The pair of hosts with something changed.
#[must_use]
pub fn changed(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = pair();
    change(&mut facts);
    facts
}
