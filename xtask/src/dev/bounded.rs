//! A map that forgets its oldest entry rather than grow.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

#[derive(Debug)]
pub(super) struct Bounded<K, V> {
    most: usize,
    next: u64,
    entries: HashMap<K, (u64, V)>,
    order: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V> Bounded<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { most, next: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// Puts in a value as the newest; returns the one of the same key.
    pub(super) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = self.remove(&key);
        if self.entries.len() >= self.most {
            self.pop();
        }
        self.next += 1;
        self.order.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        before
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (number, value) = self.entries.remove(key)?;
        self.order.remove(&number);
        Some(value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn oldest(&self) -> Option<&V> {
        let (_, key) = self.order.first_key_value()?;
        self.entries.get(key).map(|(_, value)| value)
    }

    /// Takes out the oldest.
    pub(super) fn pop(&mut self) -> Option<V> {
        let (_, key) = self.order.pop_first()?;
        self.entries.remove(&key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let mut map = Bounded::new(2);
        assert_eq!((map.insert("a", 1), map.insert("b", 2), map.insert("a", 3)), (None, None, Some(1)));
        map.insert("c", 4);
        assert_eq!(
            (map.remove(&"b"), map.oldest().copied(), map.entries.len(), map.order.len()),
            (None, Some(3), 2, 2)
        );
        assert_eq!((map.pop(), map.pop(), map.pop()), (Some(3), Some(4), None));
    }
}
