//! The state behind a lock, the clock, and waiting for what the state has not got yet.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tonic::Status;

use super::Limits;
use super::event::Event;
use super::journal::Journal;
use super::push::Client;
use super::queue::Want;
use super::state::{State, Taken};
use super::store::{Store, Writer};
use super::time::{Clock, Time};

/// What all connections and tasks of a bus share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Arc<Mutex<State>>,
    /// Writes what the state notes, if that is kept.
    writer: Option<Writer>,
    clock: Clock,
    alarm_changed: Arc<Notify>,
    events: broadcast::Sender<Event>,
    stopping: watch::Sender<bool>,
    last_holder: AtomicU64,
    pub(super) client: Client,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        const EVENTS: usize = 4096;
        let alarm_changed = Arc::new(Notify::new());
        let events = broadcast::Sender::new(EVENTS);
        Self {
            state: Arc::new(Mutex::new(State::new(limits, events.clone(), Arc::clone(&alarm_changed)))),
            writer: None,
            clock: Clock::start(),
            alarm_changed,
            events,
            stopping: watch::Sender::new(false),
            last_holder: AtomicU64::new(0),
            client: Client::new(),
        }
    }

    /// With what a directory keeps.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(super) fn open(limits: Limits, directory: &Path) -> io::Result<Self> {
        let (store, contents) = Store::open(directory)?;
        let journal = Arc::new(Journal::new());
        let shared = Self::new(limits);
        shared.with(|state, _| state.restore(contents, &journal)).map_err(|status| {
            let why = format!("cannot use {}: {}", store.path().display(), status.message());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        let writer = Writer::start(store, journal, Arc::clone(&shared.state))?;
        Ok(Self { writer: Some(writer), ..shared })
    }

    /// Does something with the state, and waits until it is on disk if the bus keeps anything there.
    ///
    /// # Errors
    /// Those of `f`, and FAILED_PRECONDITION when the disk cannot be written.
    pub(super) async fn keep<T>(&self, f: impl FnOnce(&mut State, Time) -> Result<T, Status>) -> Result<T, Status> {
        let (done, batch) = self.note(f)?;
        self.written(batch).await?;
        Ok(done)
    }

    /// Does something with the state; when [`Shared::written`] is ready for the number, it is on disk.
    ///
    /// # Errors
    /// As [`Shared::keep`].
    pub(super) fn note<T>(&self, f: impl FnOnce(&mut State, Time) -> Result<T, Status>) -> Result<(T, u64), Status> {
        let journal = self.writer.as_ref().map(Writer::journal);
        if let Some(journal) = journal {
            journal.check()?;
        }
        self.with(|state, now| {
            let done = f(state, now)?;
            // Within the lock, so that it is the batch that the change is in.
            Ok((done, journal.map_or(0, |journal| journal.batch())))
        })
    }

    /// # Errors
    /// When the disk cannot be written.
    pub(super) async fn written(&self, batch: u64) -> Result<(), Status> {
        match &self.writer {
            Some(writer) => writer.journal().written(batch).await,
            None => Ok(()),
        }
    }

    /// Writes what is left to write, and lets go of the directory.
    pub(super) fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }

    /// Does something with the state. Never for long: every other request waits.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut State, Time) -> T) -> T {
        // A panic in one request must not end all others; the state's own calls leave nothing half done that matters.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Within the lock, so that the state's time never goes back.
        let now = self.clock.now();
        f(&mut state, now)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// A number for a subscriber that no other has.
    pub(super) fn holder(&self) -> u64 {
        self.last_holder.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Ready once the bus is about to end.
    pub(super) async fn stopping(&self) {
        // An error says that the sender is gone, which is the end too.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }

    /// Until the clock shows this time; forever, if that is never.
    pub(super) async fn sleep_until(&self, time: Time) {
        match self.clock.instant(time) {
            Some(instant) => tokio::time::sleep_until(instant.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Pulls, and waits up to `patience` for a first message.
    pub(super) async fn pull(&self, name: &str, want: Want, patience: Duration) -> Result<Taken, Status> {
        let wake = self.with(|state, _| state.wake(name))?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let woken = wake.notified();
            tokio::pin!(woken);
            // Before the look, so that what comes after it is not missed.
            woken.as_mut().enable();
            let taken = self.with(|state, now| state.pull(now, name, want))?;
            if !taken.deliveries.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(deadline) => return Ok(taken),
                () = self.stopping() => return Ok(taken),
            }
        }
    }

    /// Lets time pass for the state, until the bus ends.
    pub(super) async fn keep_time(&self) {
        loop {
            let next = self.with(|state, now| state.tick(now));
            tokio::select! {
                () = self.sleep_until(next) => {}
                () = self.alarm_changed.notified() => {}
                () = self.stopping() => return,
            }
        }
    }
}
