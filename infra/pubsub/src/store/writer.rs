//! The thread that writes what the journal gathers.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tonic::Status;

use super::Store;
use crate::journal::Journal;
use crate::state::State;

/// Writes until it is closed or dropped; what is noted by then is on disk afterwards, and the store free for others.
#[derive(Debug)]
pub(crate) struct Writer {
    journal: Arc<Journal>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    /// # Errors
    /// When there is no thread to be had.
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

    /// Blocks until everything noted is written and the store closed.
    pub(crate) fn close(&self) {
        self.journal.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It says to the journal how it ends, also when it panics.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Nobody must wait for a writer that is no more.
struct End<'a>(&'a Journal);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.0.end(
            panicked.then(|| Status::internal("The local Pub/Sub cannot write its store any more: a fault of it.")),
        );
    }
}

fn write(store: &Store, journal: &Journal, state: &Mutex<State>) {
    let _end = End(journal);
    while journal.wait() {
        let (batch, counters, changes) = {
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let (batch, changes) = journal.take();
            (batch, state.counters(), changes)
        };
        if let Err(error) = store.write(counters, &changes) {
            let path = store.path().display();
            journal.end(Some(Status::failed_precondition(format!(
                "The local Pub/Sub cannot write {path}: {error}. Make room or give another data directory, and start it again."
            ))));
            return;
        }
        journal.advance(batch);
    }
}
