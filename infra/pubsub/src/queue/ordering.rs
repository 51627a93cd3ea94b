//! The order of one ordering key.

use std::collections::BTreeSet;

/// Messages of one key, by number: those of the current run, which are outstanding, and those that wait for it to end.
#[derive(Debug, Default)]
pub(super) struct KeyOrder {
    outstanding: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
}

impl KeyOrder {
    /// Adds a message that waits. Returns the former head, which may be ready already, if the message comes before it.
    pub(super) fn add(&mut self, number: u64) -> Option<u64> {
        let former_head = self.head().filter(|&head| head > number);
        self.waiting.insert(number);
        former_head
    }

    /// The next message to be delivered; `None` while a run is outstanding.
    pub(super) fn head(&self) -> Option<u64> {
        if self.outstanding.is_empty() { self.waiting.first().copied() } else { None }
    }

    /// The next message of the current run: the oldest that waits, unless it is older than one that is outstanding.
    pub(super) fn next_of_run(&self) -> Option<u64> {
        let next = self.waiting.first().copied()?;
        (self.outstanding.last().is_none_or(|&last| last < next)).then_some(next)
    }

    pub(super) fn oldest_outstanding(&self) -> Option<u64> {
        self.outstanding.first().copied()
    }

    pub(super) fn mark_outstanding(&mut self, number: u64) {
        self.waiting.remove(&number);
        self.outstanding.insert(number);
    }

    /// Has `number` and the messages of the run behind it wait again, and returns them.
    pub(super) fn return_from(&mut self, number: u64) -> BTreeSet<u64> {
        let returned = self.outstanding.split_off(&number);
        self.waiting.extend(&returned);
        returned
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.outstanding.remove(&number);
        self.waiting.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.outstanding.is_empty() && self.waiting.is_empty()
    }
}
