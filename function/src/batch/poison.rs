//! Messages that were delivered so often that they may have ended a process before, as by running out of memory.
//!
//! Whoever is under way when a process dies loses an attempt, and dead letters are made after some. So a suspect runs
//! alone ([`super::queue`]), and in the first seconds of a process, which may follow upon a crash, suspects do not
//! come back together: each waits a time of its own, the long waits of one attempt being the short ones of the next.
//! Over two attempts everybody has had a turn before the one that kills.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crate::Message;

/// From this attempt on.
const FIRST_ATTEMPT: u32 = 3;
/// How old a process is that does not follow upon a crash, or has got over it.
const YOUNG_PROCESS: Duration = Duration::from_secs(5);
const MAX_DELAY: Duration = Duration::from_millis(400);

/// Whether a message is one in its `attempt`th delivery.
pub(super) fn is_possible(attempt: u32) -> bool {
    attempt >= FIRST_ATTEMPT
}

/// How long a message waits in a process of this age.
pub(super) fn delay(message: &Message, age: Duration) -> Duration {
    match message.delivery_attempt {
        Some(attempt) if is_possible(attempt) && age < YOUNG_PROCESS => MAX_DELAY.mul_f64(share(&message.id, attempt)),
        _ => Duration::ZERO,
    }
}

/// 0 to 1; of two attempts in a row the sum is 1.
fn share(id: &str, attempt: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let share = f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX);
    if attempt.is_multiple_of(2) { share } else { 1.0 - share }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, delivery_attempt: Option<u32>) -> Message {
        Message { id: id.into(), delivery_attempt, ..Message::default() }
    }

    #[test]
    fn whoever_waits_long_once_waits_briefly_then() {
        for id in ["1", "2", "17"] {
            let waits = [3, 4].map(|attempt| delay(&message(id, Some(attempt)), Duration::ZERO));
            let sum = waits[0] + waits[1];
            assert!(sum.abs_diff(MAX_DELAY) < Duration::from_micros(1) && waits[0] != waits[1], "{waits:?}");
        }
    }

    #[test]
    fn nobody_else_waits() {
        for (attempt, age) in [(None, 0), (Some(1), 0), (Some(2), 0), (Some(3), 5)] {
            assert_eq!(delay(&message("1", attempt), Duration::from_secs(age)), Duration::ZERO);
        }
    }
}
