//! Messages of one ordering key, one after the other.
//!
//! Each message waits for the one that was delivered before it under its key: a chain of one-shot channels, of which
//! the map holds the last. If a message fails, its sender is dropped unsent, and so all messages after it fail too:
//! Pub/Sub redelivers them, in order, after the one that failed. Invariant: a key is in the map exactly as long as
//! its latest message is in flight.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// For each ordering key in flight, its latest message.
#[derive(Clone, Default)]
pub(super) struct OrderingKeys(Arc<Mutex<HashMap<String, Latest>>>);

struct Latest {
    number: u64,
    finished: oneshot::Receiver<()>,
}

/// A message in the order of its key, or one without a key. Dropped without [`finish`](Self::finish), the message is
/// redelivered, and with it all that were delivered after it.
pub(super) struct OrderedDelivery(Option<KeyedDelivery>);

struct KeyedDelivery {
    keys: OrderingKeys,
    key: String,
    number: u64,
    predecessor: Option<oneshot::Receiver<()>>,
    finish: Option<oneshot::Sender<()>>,
}

impl OrderingKeys {
    /// Puts a message at the end of its key's order; a message without a key waits for no other. Must be called in
    /// the order of delivery.
    pub(super) fn enqueue(&self, key: &str) -> OrderedDelivery {
        if key.is_empty() {
            return OrderedDelivery(None);
        }
        let (finish, finished) = oneshot::channel();
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = latest.get(key).map_or(0, |latest| latest.number + 1);
        let predecessor = latest.insert(key.to_owned(), Latest { number, finished }).map(|latest| latest.finished);
        OrderedDelivery(Some(KeyedDelivery {
            keys: self.clone(),
            key: key.to_owned(),
            number,
            predecessor,
            finish: Some(finish),
        }))
    }
}

impl OrderedDelivery {
    /// Waits for the previous message of the key; `false` if that one failed and is redelivered.
    pub(super) async fn predecessor_done(&mut self) -> bool {
        match self.0.as_mut().and_then(|delivery| delivery.predecessor.take()) {
            Some(predecessor) => predecessor.await.is_ok(),
            None => true,
        }
    }

    /// The message is acknowledged: the next one of its key may run.
    pub(super) fn finish(mut self) {
        if let Some(finish) = self.0.as_mut().and_then(|delivery| delivery.finish.take()) {
            let _ = finish.send(()); // there may be no next message
        }
    }
}

impl Drop for KeyedDelivery {
    fn drop(&mut self) {
        let mut latest = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        if latest.get(&self.key).is_some_and(|latest| latest.number == self.number) {
            latest.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_s_messages_wait_for_one_another_and_fail_together() {
        let keys = OrderingKeys::default();
        let (mut first, mut second, mut third) = (keys.enqueue("a"), keys.enqueue("a"), keys.enqueue("a"));
        assert!(
            keys.enqueue("b").predecessor_done().await
                && keys.enqueue("").predecessor_done().await
                && first.predecessor_done().await
        );
        let waiting = tokio::spawn(async move { (second.predecessor_done().await, second) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.finish();
        let (came, second) = waiting.await.unwrap_or_else(|_| (false, keys.enqueue("")));
        assert!(came);
        drop(second);
        assert!(!third.predecessor_done().await);
        drop(third);
        assert!(keys.0.lock().is_ok_and(|keys| keys.is_empty()));
    }
}
