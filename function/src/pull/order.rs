//! Messages of one ordering key, one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

/// For each ordering key at work, the end of its latest message.
#[derive(Clone, Default)]
pub(super) struct Keys(Arc<Mutex<HashMap<String, Latest>>>);

struct Latest {
    number: u64,
    end: oneshot::Receiver<()>,
}

/// A message's place among those of its key. Dropped without [`end`](Self::end), the message comes again, and with it all that
/// were delivered after it.
pub(super) struct Turn(Option<Place>);

struct Place {
    keys: Keys,
    key: String,
    number: u64,
    before: Option<oneshot::Receiver<()>>,
    ended: Option<oneshot::Sender<()>>,
}

impl Keys {
    /// The next place of this key; messages without a key wait for nobody. To be called in the order of delivery.
    pub(super) fn turn(&self, key: &str) -> Turn {
        if key.is_empty() {
            return Turn(None);
        }
        let (ended, end) = oneshot::channel();
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = latest.get(key).map_or(0, |before| before.number + 1);
        let before = latest.insert(key.to_owned(), Latest { number, end }).map(|before| before.end);
        Turn(Some(Place { keys: self.clone(), key: key.to_owned(), number, before, ended: Some(ended) }))
    }
}

impl Turn {
    /// Waits for the message before; `false` if that one comes again.
    pub(super) async fn come(&mut self) -> bool {
        match self.0.as_mut().and_then(|place| place.before.take()) {
            Some(before) => before.await.is_ok(),
            None => true,
        }
    }

    /// The message is done with.
    pub(super) fn end(mut self) {
        if let Some(ended) = self.0.as_mut().and_then(|place| place.ended.take()) {
            let _ = ended.send(()); // there may be no next one
        }
    }
}

impl Drop for Place {
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
        let keys = Keys::default();
        let (mut first, mut second, mut third) = (keys.turn("a"), keys.turn("a"), keys.turn("a"));
        assert!(keys.turn("b").come().await && keys.turn("").come().await && first.come().await);
        let waiting = tokio::spawn(async move { (second.come().await, second) });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        first.end();
        let (came, second) = waiting.await.unwrap_or_else(|_| (false, keys.turn("")));
        assert!(came);
        drop(second);
        assert!(!third.come().await);
        drop(third);
        assert!(keys.0.lock().is_ok_and(|keys| keys.is_empty()));
    }
}
