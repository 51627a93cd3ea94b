//! The messages that one subscription holds: who has which, until when, and what comes next.
//!
//! Pure: every call gets the time, and nothing happens between calls. Sources: "Handle message failures", "Lease management",
//! "Order messages" and "Exactly-once delivery" of <https://cloud.google.com/pubsub/docs>.
//!
//! A message is in one [`Place`]. Without an ordering key it goes `Ready` → `Leased` → gone, or back to `Ready`, by way of
//! `Delayed` if the retry policy says so. With one (and ordering on), only the messages of a key's current run are out: a pull
//! takes several in order, a push one. The rest of the key waits until the run is acknowledged, and a message that fails takes
//! those of the run behind it back with it, acknowledged or not.

mod key;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::journal::{Hold, Notes};
use super::message::{Charge, Message, Usage};
use super::time::Time;
use key::Key;

/// What a subscription's settings mean for its queue.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    /// How long a pulled or pushed message may stay unacknowledged.
    pub(super) ack_deadline: Duration,
    /// Ordering keys are honoured.
    pub(super) ordered: bool,
    /// Acknowledgements of passed deadlines fail.
    pub(super) exactly_once: bool,
    /// The shortest and longest wait before a failed message comes again; without, it comes again at once.
    pub(super) backoff: Option<(Duration, Duration)>,
    /// How many failed deliveries make a dead letter.
    pub(super) max_attempts: Option<u32>,
    /// How long a message that nobody acknowledges is kept.
    pub(super) retention: Duration,
    /// Acknowledged messages are kept that long too, for a seek.
    pub(super) retain_acked: bool,
}

impl Rules {
    /// How long a message waits after this many failures.
    fn wait(&self, failures: u32) -> Duration {
        let Some((shortest, longest)) = self.backoff else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        shortest.saturating_mul(factor).min(longest)
    }
}

/// How much a subscriber takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    /// The most messages.
    pub(super) messages: usize,
    /// The most bytes; the first message is given even if it is larger.
    pub(super) bytes: usize,
    /// Who takes them: a number of the caller's choice.
    pub(super) holder: u64,
    /// How long it has them, if not as long as the subscription says.
    pub(super) lease: Option<Duration>,
    /// Whether several messages of one ordering key may be out at once.
    pub(super) runs: bool,
}

/// One delivery; `number` and `token` make the acknowledgement id.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    pub(super) message: Arc<Message>,
    pub(super) token: u64,
    /// 1 for the first.
    pub(super) attempt: u32,
}

/// A message and how often its delivery failed.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) message: Arc<Message>,
    pub(super) failures: u32,
}

/// What became of a delivery that failed.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    /// It comes again.
    Again(Arc<Message>),
    /// It has left the queue: forward it.
    DeadLetter(Failed),
}

/// What time brought about.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub(super) expired: Vec<Fate>,
    pub(super) discarded: Vec<Arc<Message>>,
    /// Whether messages became ready.
    pub(super) ready: bool,
}

/// The acknowledgement id is of a delivery that is over (exactly-once delivery only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stale;

/// What a subscriber holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    failures: u32,
    /// Of the latest delivery; 0 before the first.
    token: u64,
    not_before: Time,
    place: Place,
    _charge: Charge,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Behind others of its ordering key.
    Waiting,
    Ready,
    Delayed,
    Leased {
        until: Time,
        holder: u64,
    },
    /// Acknowledged, but one before it of the same ordering key is not.
    Done,
}

/// The messages of one subscription.
#[derive(Debug)]
pub(super) struct Queue {
    rules: Rules,
    usage: Arc<Usage>,
    entries: BTreeMap<u64, Entry>,
    ready: BTreeSet<u64>,
    delayed: BTreeSet<(Time, u64)>,
    leases: BTreeSet<(Time, u64)>,
    keys: HashMap<String, Key>,
    loads: HashMap<u64, Load>,
    acked: BTreeMap<u64, (Arc<Message>, Charge)>,
    last_token: u64,
    notes: Option<Notes>,
}

impl Queue {
    pub(super) fn new(rules: Rules, usage: Arc<Usage>) -> Self {
        Self {
            rules,
            usage,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            delayed: BTreeSet::new(),
            leases: BTreeSet::new(),
            keys: HashMap::new(),
            loads: HashMap::new(),
            acked: BTreeMap::new(),
            last_token: 0,
            notes: None,
        }
    }

    /// Notes what it holds from now on, and nothing of what it holds already.
    pub(super) fn note_in(&mut self, notes: Notes) {
        self.notes = Some(notes);
    }

    /// Gives out only tokens above this one.
    pub(super) fn skip_tokens(&mut self, token: u64) {
        self.last_token = self.last_token.max(token);
    }

    /// Takes back a message that a store kept; oldest first.
    pub(super) fn restore(&mut self, message: Arc<Message>, hold: Hold) {
        let number = message.number;
        match hold {
            Hold::Unacked { failures } => {
                self.push(message);
                if let Some(entry) = self.entries.get_mut(&number) {
                    entry.failures = failures;
                }
            }
            Hold::Acked | Hold::Retained => {
                self.acked.insert(number, (message, self.usage.delivery()));
            }
        }
    }

    /// Notes that it holds nothing any more; it is to be dropped.
    pub(super) fn forget(&self) {
        for &number in self.entries.keys().chain(self.acked.keys()) {
            self.note(number, None);
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Follows a change of the subscription's settings; ordering cannot change.
    pub(super) fn set_rules(&mut self, rules: Rules) {
        self.rules = Rules { ordered: self.rules.ordered, ..rules };
        if !self.rules.retain_acked {
            for number in std::mem::take(&mut self.acked).into_keys() {
                self.note(number, None);
            }
        }
    }

    /// Takes in a message, which may be an old one after a seek.
    pub(super) fn push(&mut self, message: Arc<Message>) {
        let number = message.number;
        if self.entries.contains_key(&number) {
            return;
        }
        self.acked.remove(&number);
        let key = self.ordered(&message).then(|| message.ordering_key.clone());
        let _charge = self.usage.delivery();
        let entry =
            Entry { message, failures: 0, token: 0, not_before: Time::default(), place: Place::Waiting, _charge };
        self.entries.insert(number, entry);
        self.note(number, Some(Hold::Unacked { failures: 0 }));
        match key {
            Some(key) => {
                let order = self.keys.entry(key.clone()).or_default();
                if let Some(former) = order.add(number) {
                    // An older message came back by a seek: it goes first.
                    self.park(former);
                }
                self.schedule_key(&key);
            }
            None => self.schedule(number),
        }
    }

    /// Hands out what is ready, oldest first.
    pub(super) fn take(&mut self, now: Time, want: Want) -> Vec<Delivery> {
        let mut taken = Vec::new();
        let mut room = want.bytes;
        while taken.len() < want.messages {
            let Some(&number) = self.ready.first() else { break };
            if !self.fits(number, room, taken.is_empty()) {
                break;
            }
            self.ready.remove(&number);
            let key = match self.entries.get(&number) {
                Some(entry) if self.ordered(&entry.message) => Some(entry.message.ordering_key.clone()),
                _ => None,
            };
            taken.extend(self.lease(now, number, want, &mut room));
            let Some(key) = key else { continue };
            self.begin(&key, number);
            while want.runs && taken.len() < want.messages {
                let Some(next) = self.keys.get(&key).and_then(Key::next) else { break };
                let due = self.entries.get(&next).is_some_and(|entry| entry.not_before <= now);
                if !due || !self.fits(next, room, false) {
                    break;
                }
                taken.extend(self.lease(now, next, want, &mut room));
                self.begin(&key, next);
            }
        }
        taken
    }

    /// Ends a delivery well; the message that leaves, if it was there.
    ///
    /// # Errors
    /// [`Stale`] with exactly-once delivery, when the delivery was over already.
    pub(super) fn acknowledge(&mut self, now: Time, number: u64, token: u64) -> Result<Option<Arc<Message>>, Stale> {
        let entry = match self.entries.get(&number) {
            Some(entry) => entry,
            None if self.rules.exactly_once => return Err(Stale),
            None => return Ok(None),
        };
        let current = entry.token == token && matches!(entry.place, Place::Leased { until, .. } if until > now);
        if self.rules.exactly_once && !current {
            return Err(Stale);
        }
        let message = Arc::clone(&entry.message);
        if !self.ordered(&message) {
            self.finish(number);
            return Ok(Some(message));
        }
        // A message that has gone back to its key's order must not be taken out of it.
        if !matches!(entry.place, Place::Leased { .. }) {
            return Ok(None);
        }
        self.set_place(number, Place::Done);
        let key = message.ordering_key.clone();
        while let Some(first) = self.keys.get(&key).and_then(Key::first_out) {
            if self.entries.get(&first).is_none_or(|entry| entry.place != Place::Done) {
                break;
            }
            self.finish(first);
        }
        self.schedule_key(&key);
        Ok(Some(message))
    }

    /// Moves the deadline of a delivery to `now + lease`.
    ///
    /// # Errors
    /// As [`Queue::acknowledge`].
    pub(super) fn extend(&mut self, now: Time, number: u64, token: u64, lease: Duration) -> Result<(), Stale> {
        match self.current(now, number, token) {
            Some(holder) => self.set_place(number, Place::Leased { until: now.after(lease), holder }),
            None if self.rules.exactly_once => return Err(Stale),
            None => {}
        }
        Ok(())
    }

    /// Ends a delivery badly. `forward`: the dead-letter topic is there.
    ///
    /// # Errors
    /// As [`Queue::acknowledge`].
    pub(super) fn refuse(&mut self, now: Time, number: u64, token: u64, forward: bool) -> Result<Option<Fate>, Stale> {
        match self.current(now, number, token) {
            Some(_) => Ok(self.fail(now, number, forward)),
            None if self.rules.exactly_once => Err(Stale),
            None => Ok(None),
        }
    }

    /// Does what is due. `forward`: the dead-letter topic is there.
    pub(super) fn tick(&mut self, now: Time, forward: bool) -> Passed {
        let mut passed = Passed::default();
        while let Some(&(until, number)) = self.leases.first()
            && until <= now
        {
            passed.expired.extend(self.fail(now, number, forward));
        }
        while let Some(&(at, number)) = self.delayed.first()
            && at <= now
        {
            self.set_place(number, Place::Ready);
        }
        while let Some((&number, entry)) = self.entries.first_key_value()
            && entry.message.publish_time.after(self.rules.retention) <= now
        {
            let Some(Entry { message, place, .. }) = self.finish_quietly(number) else { break };
            self.schedule_key(&message.ordering_key);
            if place != Place::Done {
                passed.discarded.push(message);
            }
        }
        while let Some((&number, (message, _))) = self.acked.first_key_value()
            && message.publish_time.after(self.rules.retention) <= now
        {
            self.acked.remove(&number);
            self.note(number, None);
        }
        passed.ready = !self.ready.is_empty();
        passed
    }

    /// When [`Queue::tick`] has something to do.
    pub(super) fn due(&self) -> Time {
        let retained = |message: &Message| message.publish_time.after(self.rules.retention);
        let dues = [
            self.leases.first().map(|&(at, _)| at),
            self.delayed.first().map(|&(at, _)| at),
            self.entries.first_key_value().map(|(_, entry)| retained(&entry.message)),
            self.acked.first_key_value().map(|(_, (message, _))| retained(message)),
        ];
        dues.into_iter().flatten().min().unwrap_or(Time::NEVER)
    }

    /// Makes everything that waits for its next attempt ready.
    pub(super) fn hurry(&mut self) {
        for (_, number) in std::mem::take(&mut self.delayed) {
            self.set_place(number, Place::Ready);
        }
        for entry in self.entries.values_mut() {
            entry.not_before = Time::default();
        }
    }

    /// Marks its messages and what it keeps of acknowledged ones as acknowledged or not.
    pub(super) fn seek(&mut self, unacked: impl Fn(&Message) -> bool) {
        let passed = self.entries.values().filter(|entry| !unacked(&entry.message));
        let passed: Vec<u64> = passed.map(|entry| entry.message.number).collect();
        for number in passed {
            let key = self.entries.get(&number).map(|entry| entry.message.ordering_key.clone());
            self.finish(number);
            self.schedule_key(&key.unwrap_or_default());
        }
        let again = self.acked.values().filter(|(message, _)| unacked(message));
        let again: Vec<Arc<Message>> = again.map(|(message, _)| Arc::clone(message)).collect();
        for message in again {
            self.push(message);
        }
    }

    /// What this holder has.
    pub(super) fn load(&self, holder: u64) -> Load {
        self.loads.get(&holder).copied().unwrap_or_default()
    }

    /// The messages that are not acknowledged, by number.
    pub(super) fn unacked(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.entries.values().map(|entry| &entry.message)
    }

    /// How many messages are not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn ordered(&self, message: &Message) -> bool {
        self.rules.ordered && !message.ordering_key.is_empty()
    }

    /// The holder, if this delivery is not over.
    fn current(&self, now: Time, number: u64, token: u64) -> Option<u64> {
        let entry = self.entries.get(&number).filter(|entry| entry.token == token)?;
        match entry.place {
            Place::Leased { until, holder } if until > now => Some(holder),
            _ => None,
        }
    }

    fn fits(&self, number: u64, room: usize, first: bool) -> bool {
        first || self.entries.get(&number).is_some_and(|entry| entry.message.size() <= room)
    }

    fn lease(&mut self, now: Time, number: u64, want: Want, room: &mut usize) -> Option<Delivery> {
        self.last_token += 1;
        let token = self.last_token;
        let entry = self.entries.get_mut(&number)?;
        entry.token = token;
        *room = room.saturating_sub(entry.message.size());
        let delivery = Delivery { message: Arc::clone(&entry.message), token, attempt: entry.failures + 1 };
        let lease = want.lease.unwrap_or(self.rules.ack_deadline);
        self.set_place(number, Place::Leased { until: now.after(lease), holder: want.holder });
        Some(delivery)
    }

    /// Notes that a message of this key is out.
    fn begin(&mut self, key: &str, number: u64) {
        if let Some(order) = self.keys.get_mut(key) {
            order.begin(number);
        }
    }

    fn fail(&mut self, now: Time, number: u64, forward: bool) -> Option<Fate> {
        let entry = self.entries.get_mut(&number)?;
        entry.failures += 1;
        let failures = entry.failures;
        entry.not_before = now.after(self.rules.wait(failures));
        let message = Arc::clone(&entry.message);
        self.note(number, Some(Hold::Unacked { failures }));
        let key = self.ordered(&message).then(|| message.ordering_key.clone());
        if let Some(key) = &key {
            let returned = self.keys.get_mut(key).map(|order| order.back_to(number)).unwrap_or_default();
            for number in returned {
                self.park(number);
            }
        }
        let dead = forward && self.rules.max_attempts.is_some_and(|most| failures >= most);
        let fate = if dead {
            self.finish_quietly(number);
            Fate::DeadLetter(Failed { message, failures })
        } else {
            if key.is_none() {
                self.schedule(number);
            }
            Fate::Again(message)
        };
        if let Some(key) = key {
            self.schedule_key(&key);
        }
        Some(fate)
    }

    /// Makes the first message of a key ready when none of the key is out.
    fn schedule_key(&mut self, key: &str) {
        let Some(order) = self.keys.get(key) else { return };
        if let Some(head) = order.head() {
            if self.entries.get(&head).is_some_and(|entry| entry.place == Place::Waiting) {
                self.schedule(head);
            }
        } else if order.is_empty() {
            self.keys.remove(key);
        }
    }

    /// Ready, or delayed as long as it has to be; [`Queue::tick`] ends a delay that is over.
    fn schedule(&mut self, number: u64) {
        let Some(entry) = self.entries.get(&number) else { return };
        let place = if entry.not_before == Time::default() { Place::Ready } else { Place::Delayed };
        // Without a wait the delay would only cost a tick.
        let place = if self.rules.wait(entry.failures).is_zero() { Place::Ready } else { place };
        self.set_place(number, place);
    }

    fn park(&mut self, number: u64) {
        self.set_place(number, Place::Waiting);
    }

    /// The one way from place to place: keeps the indices and the loads right.
    fn set_place(&mut self, number: u64, place: Place) {
        let Some(entry) = self.entries.get_mut(&number) else { return };
        let former = std::mem::replace(&mut entry.place, place);
        let (not_before, size) = (entry.not_before, entry.message.size());
        self.leave(number, former, not_before, size);
        match place {
            Place::Waiting | Place::Done => {}
            Place::Ready => {
                self.ready.insert(number);
            }
            Place::Delayed => {
                self.delayed.insert((not_before, number));
            }
            Place::Leased { until, holder } => {
                self.leases.insert((until, number));
                let load = self.loads.entry(holder).or_default();
                load.messages += 1;
                load.bytes += size;
            }
        }
    }

    fn leave(&mut self, number: u64, former: Place, not_before: Time, size: usize) {
        match former {
            Place::Waiting | Place::Done => {}
            Place::Ready => {
                self.ready.remove(&number);
            }
            Place::Delayed => {
                self.delayed.remove(&(not_before, number));
            }
            Place::Leased { until, holder } => {
                self.leases.remove(&(until, number));
                if let Some(load) = self.loads.get_mut(&holder) {
                    load.messages -= 1;
                    load.bytes -= size;
                    if load.messages == 0 {
                        self.loads.remove(&holder);
                    }
                }
            }
        }
    }

    /// Out of the queue, and into what is kept of acknowledged messages.
    fn finish(&mut self, number: u64) {
        let Some(entry) = self.finish_quietly(number) else { return };
        if self.rules.retain_acked {
            let charge = self.usage.delivery();
            self.acked.insert(number, (entry.message, charge));
            self.note(number, Some(Hold::Acked));
        }
    }

    fn finish_quietly(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        self.note(number, None);
        self.leave(number, entry.place, entry.not_before, entry.message.size());
        if self.ordered(&entry.message)
            && let Some(order) = self.keys.get_mut(&entry.message.ordering_key)
        {
            order.remove(number);
        }
        Some(entry)
    }

    fn note(&self, number: u64, hold: Option<Hold>) {
        if let Some(notes) = &self.notes {
            notes.hold(number, hold);
        }
    }
}
