//! Poison messages: those that end the process that works on them, as by running out of memory.
//!
//! A crash costs every in-flight message one delivery attempt, and too many attempts dead-letter it. The attempt is
//! all that a new process knows about an old one. So a message in its third attempt or a later one counts as possibly
//! poison:
//!
//! 1. It runs in a batch of its own ([`super::queue`]).
//! 2. In a young process, which may have replaced one that crashed, it is quarantined first: [`Quarantine::hold`].
//!
//! # The quarantine
//!
//! The first possible poison message that arrives in a process sets a zero time. Each of them has a slot in the
//! second after it, derived from its id, and waits for its slot. At its next attempt its slot is mirrored: the last
//! becomes the first. So of any two messages each runs before the other in one of two attempts in a row, and after
//! two attempts every innocent message has once run before the poison message. Three details make this hold in
//! practice:
//!
//! - Slots count from a common zero, not from each message's own arrival: Pub/Sub delivers few messages to an
//!   endpoint that has just failed, and a late arrival must not run later than its slot says.
//! - At most [`MAX_RUNNING`] of them run at a time, first slot first. So when the poison message runs, the messages
//!   of earlier slots have been answered, however slow the code or the machine is.
//! - They keep waiting until the process is no longer young, and no longer: where many messages have failed often,
//!   after an outage, only the first seconds are slow.
//!
//! Messages in their first two attempts never wait. What they lose to a crash that the poison message causes in *its*
//! first two attempts, and what every message loses while no process listens, cannot be helped here: an innocent
//! message is safe if `max-attempts` leaves it two more attempts than that.
//!
//! # What it achieves
//!
//! The tests simulate 200 messages that are in flight at each crash and can afford to lose two more attempts, not
//! three. Of those 0.3, 4 and 6 become dead letters on average, where handling a message takes 2, 20 and 100 ms: the
//! messages whose slots are next to that of the poison message, since a few run at the same time as it does. Fewer at
//! a time would spare these, and would leave more messages to be run all at once when the process is no longer young.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::Message;

/// The first attempt in which a message may be a poison message: it has failed twice.
const FIRST_ATTEMPT: u32 = 3;
/// A process of this age did not replace one that crashed, or has survived the messages that were in flight then.
const YOUNG_PROCESS_AGE: Duration = Duration::from_secs(5);
/// The time over which slots are spread: longer than the messages that a crash has interrupted need to come back.
const SLOT_SPREAD: Duration = Duration::from_secs(1);
/// Possible poison messages of a young process that run at a time.
const MAX_RUNNING: usize = 4;

/// Whether a message may be a poison message, by its delivery attempt.
pub(super) fn is_possible(attempt: u32) -> bool {
    attempt >= FIRST_ATTEMPT
}

/// Holds back the possible poison messages of a young process.
#[derive(Debug)]
pub(super) struct Quarantine {
    ends: Instant,
    zero: OnceLock<Instant>,
    running: Semaphore,
}

/// Lets the next possible poison message run when it is dropped: hold it until the message has its outcome.
#[derive(Debug)]
#[must_use]
pub(crate) struct Released<'a> {
    _running: Option<SemaphorePermit<'a>>,
}

impl Quarantine {
    /// For a process that starts now.
    pub(super) fn new() -> Self {
        let ends = Instant::now() + YOUNG_PROCESS_AGE;
        Self { ends, zero: OnceLock::new(), running: Semaphore::new(MAX_RUNNING) }
    }

    /// Waits until the message may run: not at all, unless it is possibly poison and the process is young.
    pub(super) async fn hold(&self, message: &Message) -> Released<'_> {
        let attempt = message.delivery_attempt.filter(|attempt| is_possible(*attempt));
        let (Some(attempt), true) = (attempt, Instant::now() < self.ends) else { return Released { _running: None } };
        let zero = *self.zero.get_or_init(Instant::now);
        let slot = zero + SLOT_SPREAD.mul_f64(slot(&message.id, attempt));
        sleep_until(slot.min(self.ends)).await;
        // Permits go to waiting messages in the order in which they ask, which is the order of their slots.
        let running = timeout_at(self.ends, self.running.acquire()).await;
        Released { _running: running.ok().and_then(Result::ok) } // the semaphore is never closed
    }
}

/// A message's slot, from 0 to 1. Those of two attempts in a row add up to 1.
fn slot(id: &str, attempt: u32) -> f64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    let slot = f64::from((hasher.finish() >> 32) as u32) / f64::from(u32::MAX);
    if attempt.is_multiple_of(2) { slot } else { 1.0 - slot }
}

#[cfg(test)]
mod tests;
