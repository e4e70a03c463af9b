//! When a guest is handed over before its memory has gone over, where that is allowed. Pure. Main function: [`is_due`].

/// Rounds that are given a chance to end with the blackout that was wished.
const ROUNDS_MAX: u64 = 4;

/// Whether to switch to post-copy as `round`, counted from 1, begins: enough whole rounds have gone over, and what the guest
/// wrote meanwhile never fitted the blackout that was wished.
#[must_use]
pub fn is_due(round: u64) -> bool {
    round > ROUNDS_MAX
}

#[cfg(test)]
mod tests {
    use super::{ROUNDS_MAX, is_due};

    #[test]
    fn rounds_are_given_a_chance() {
        assert!((1..=ROUNDS_MAX).all(|round| !is_due(round)));
        assert!(is_due(ROUNDS_MAX + 1) && is_due(u64::MAX));
    }
}
