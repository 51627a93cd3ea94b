//! The order of one ordering key.

use std::collections::BTreeSet;

/// Messages of one key: those of the current run, which are out, and those that wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Key {
    out: BTreeSet<u64>,
    waiting: BTreeSet<u64>,
}

impl Key {
    /// Adds one that waits. If it comes before the head, which may be ready already: the former head.
    pub(super) fn add(&mut self, number: u64) -> Option<u64> {
        let former = self.head().filter(|&head| head > number);
        self.waiting.insert(number);
        former
    }

    /// The next to be delivered, if none is out.
    pub(super) fn head(&self) -> Option<u64> {
        if self.out.is_empty() { self.waiting.first().copied() } else { None }
    }

    /// The next of the current run: the oldest that waits, unless it is older than what is out.
    pub(super) fn next(&self) -> Option<u64> {
        let next = self.waiting.first().copied()?;
        (self.out.last().is_none_or(|&last| last < next)).then_some(next)
    }

    /// The oldest that is out.
    pub(super) fn first_out(&self) -> Option<u64> {
        self.out.first().copied()
    }

    /// It is out.
    pub(super) fn begin(&mut self, number: u64) {
        self.waiting.remove(&number);
        self.out.insert(number);
    }

    /// `number` and those of the run behind it wait again.
    pub(super) fn back_to(&mut self, number: u64) -> BTreeSet<u64> {
        let back = self.out.split_off(&number);
        self.waiting.extend(&back);
        back
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.out.remove(&number);
        self.waiting.remove(&number);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.waiting.is_empty()
    }
}
