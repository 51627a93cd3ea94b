//! The thread that writes the changes that the journal gathers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tonic::Status;

use super::Store;
use crate::journal::Journal;
use crate::state::State;

/// Writes until it is closed or dropped. Afterwards every change recorded by then is on disk, and another process can
/// open the store.
#[derive(Debug)]
pub(crate) struct Writer {
    journal: Arc<Journal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(store: Store, journal: Arc<Journal>, state: Arc<Mutex<State>>) -> io::Result<Self> {
        let thread = {
            let journal = Arc::clone(&journal);
            std::thread::Builder::new().name("pubsub-store".into()).spawn(move || write(&store, &journal, &state))?
        };
        Ok(Self { journal, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn journal(&self) -> &Arc<Journal> {
        &self.journal
    }

    /// Blocks until every recorded change is written and the store is closed.
    pub(crate) fn close(&self) {
        self.journal.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The thread tells the journal how it ends, even when it panics: see `EndGuard`.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Ends the journal with the thread, however that ends, so that no request waits for a writer that is gone.
struct EndGuard<'a>(&'a Journal);

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.0.end(panicked.then(|| {
            Status::internal("The local Pub/Sub can no longer write its store: its writer has crashed, which is a bug.")
        }));
    }
}

fn write(store: &Store, journal: &Journal, state: &Mutex<State>) {
    let _guard = EndGuard(journal);
    while journal.wait_for_changes() {
        let (batch, counters, changes) = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (batch, changes) = journal.take_batch();
            (batch, state.counters(), changes)
        };
        if let Err(error) = store.write(counters, &changes) {
            let path = store.path().display();
            journal.end(Some(Status::failed_precondition(format!(
                "The local Pub/Sub cannot write {path}: {error}. Make room or give another data directory, and start it again."
            ))));
            return;
        }
        journal.mark_written(batch);
    }
}
