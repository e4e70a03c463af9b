//! When the last round may begin. Pure: figures in, figures out. Main function: [`downtime_limit_ms`].

/// Rounds in which only a quarter of the wished blackout is given to memory.
const ROUNDS_AT_A_QUARTER: u64 = 4;
/// Rounds after those in which it is a half; from then on memory may take all of it.
const ROUNDS_AT_A_HALF: u64 = 2;

/// QEMU's `downtime-limit` in milliseconds for a round, counted from 1, and the blackout wished.
///
/// QEMU holds only the memory that is left against its limit, at the bandwidth that it saw last. Device state, the last
/// synchronisation and encryption come on top, so a limit as long as the wish gives a blackout of about twice the wish.
/// The first rounds therefore ask for less. A guest that keeps too much memory dirty for that gets the whole wish later:
/// it is not kept waiting for a shorter blackout than was wished.
#[must_use]
pub fn downtime_limit_ms(wish_ms: u64, round: u64) -> u64 {
    let limit_ms = if round <= ROUNDS_AT_A_QUARTER {
        wish_ms / 4
    } else if round <= ROUNDS_AT_A_QUARTER + ROUNDS_AT_A_HALF {
        wish_ms / 2
    } else {
        wish_ms
    };
    limit_ms.clamp(1, wish_ms.max(1))
}

#[cfg(test)]
mod tests {
    use super::downtime_limit_ms;
    use proptest::prelude::*;

    fn check(wish_ms: u64, rounds: std::ops::RangeInclusive<u64>, expect_ms: u64) {
        for round in rounds {
            assert_eq!(downtime_limit_ms(wish_ms, round), expect_ms, "round {round}");
        }
    }

    #[test]
    fn the_wish_is_given_in_three_steps() {
        check(30, 1..=4, 7);
        check(30, 5..=6, 15);
        check(30, 7..=99, 30);
        check(1, 1..=99, 1);
        check(0, 1..=99, 1);
    }

    proptest! {
        #[test]
        fn it_never_shrinks_and_never_exceeds_the_wish(wish_ms in 1u64..10_000, round in 1u64..100) {
            let now = downtime_limit_ms(wish_ms, round);
            prop_assert!(now >= 1 && now <= wish_ms);
            prop_assert!(downtime_limit_ms(wish_ms, round + 1) >= now);
        }
    }
}
