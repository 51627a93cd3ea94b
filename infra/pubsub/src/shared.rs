//! The state behind a lock, the clock, and waiting: for messages, for the disk, for shutdown.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tonic::Status;

use super::event::Event;
use super::journal::Journal;
use super::limits::Limits;
use super::push::client::PushClient;
use super::queue::PullRequest;
use super::state::State;
use super::state::delivery::PulledMessages;
use super::store::Store;
use super::store::writer::Writer;
use super::time::{Clock, Time};

/// How long requests and pushes in flight have to finish after shutdown begins.
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Events that a slow receiver may fall behind before it loses the oldest.
const EVENT_BUFFER: usize = 4096;

/// What all connections and tasks of a local Pub/Sub share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Arc<Mutex<State>>,
    /// Writes recorded changes to disk, if there is a directory.
    writer: Option<Writer>,
    clock: Clock,
    alarm_changed: Arc<Notify>,
    events: broadcast::Sender<Event>,
    shutdown: watch::Sender<bool>,
    last_subscriber: AtomicU64,
    pub(super) push_client: PushClient,
}

impl Shared {
    pub(super) fn new(limits: Limits) -> Self {
        let alarm_changed = Arc::new(Notify::new());
        let events = broadcast::Sender::new(EVENT_BUFFER);
        Self {
            state: Arc::new(Mutex::new(State::new(limits, events.clone(), Arc::clone(&alarm_changed)))),
            writer: None,
            clock: Clock::start(),
            alarm_changed,
            events,
            shutdown: watch::Sender::new(false),
            last_subscriber: AtomicU64::new(0),
            push_client: PushClient::new(),
        }
    }

    /// With the contents of a directory, and keeping everything there.
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(super) fn open(limits: Limits, directory: &Path) -> io::Result<Self> {
        let (store, contents) = Store::open(directory)?;
        let journal = Arc::new(Journal::new());
        let shared = Self::new(limits);
        shared.with_state(|state, _| state.restore(contents, &journal)).map_err(|status| {
            let why = format!("cannot use {}: {}", store.path().display(), status.message());
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        let writer = Writer::start(store, journal, Arc::clone(&shared.state))?;
        Ok(Self { writer: Some(writer), ..shared })
    }

    /// Changes the state, and waits until the change is on disk if there is a directory.
    ///
    /// # Errors
    /// Those of `f`, and FAILED_PRECONDITION when the disk cannot be written.
    pub(super) async fn update_durably<T>(
        &self,
        f: impl FnOnce(&mut State, Time) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let (done, batch) = self.update(f)?;
        self.wait_durable(batch).await?;
        Ok(done)
    }

    /// Changes the state; returns the number to give to [`Shared::wait_durable`] to wait until the change is on disk.
    ///
    /// # Errors
    /// As [`Shared::update_durably`].
    pub(super) fn update<T>(&self, f: impl FnOnce(&mut State, Time) -> Result<T, Status>) -> Result<(T, u64), Status> {
        let journal = self.writer.as_ref().map(Writer::journal);
        if let Some(journal) = journal {
            journal.check()?;
        }
        self.with_state(|state, now| {
            let done = f(state, now)?;
            // Under the state's lock, so that it is the batch that the change is in.
            Ok((done, journal.map_or(0, |journal| journal.flush_batch())))
        })
    }

    /// Waits until a change is on disk.
    ///
    /// # Errors
    /// When the disk cannot be written.
    pub(super) async fn wait_durable(&self, batch: u64) -> Result<(), Status> {
        match &self.writer {
            Some(writer) => writer.journal().wait_written(batch).await,
            None => Ok(()),
        }
    }

    /// Writes the changes that are left, and releases the directory. Blocks.
    pub(super) fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close();
        }
    }

    /// Runs `f` with the state locked. It must be short: every other request waits.
    pub(super) fn with_state<T>(&self, f: impl FnOnce(&mut State, Time) -> T) -> T {
        // A panic in one request must not end all others, and no method of the state leaves it inconsistent when it
        // panics.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the state's time never goes back.
        let now = self.clock.now();
        f(&mut state, now)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// A number for a subscriber that no other one has.
    pub(super) fn new_subscriber_id(&self) -> u64 {
        self.last_subscriber.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// Ready once shutdown has begun.
    pub(super) async fn shutdown_started(&self) {
        // An error says that the sender is gone, which is shutdown as well.
        let _ = self.shutdown.subscribe().wait_for(|started| *started).await;
    }

    /// Waits until the clock shows this time; [`Time::NEVER`] never comes.
    pub(super) async fn sleep_until(&self, time: Time) {
        match self.clock.instant(time) {
            Some(instant) => tokio::time::sleep_until(instant.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Pulls, and waits at most `max_wait` for a first message.
    pub(super) async fn pull(
        &self,
        name: &str,
        pull: PullRequest,
        max_wait: Duration,
    ) -> Result<PulledMessages, Status> {
        let wake = self.with_state(|state, _| state.wake(name))?;
        let deadline = tokio::time::Instant::now() + max_wait;
        loop {
            let woken = wake.notified();
            tokio::pin!(woken);
            // Before the pull, so that a message that comes right after it is not missed.
            woken.as_mut().enable();
            let taken = self.with_state(|state, now| state.pull(now, name, pull))?;
            if !taken.deliveries.is_empty() {
                return Ok(taken);
            }
            tokio::select! {
                () = woken => {}
                () = tokio::time::sleep_until(deadline) => return Ok(taken),
                () = self.shutdown_started() => return Ok(taken),
            }
        }
    }

    /// Calls [`State::tick`] whenever something is due, until shutdown.
    pub(super) async fn run_timers(&self) {
        loop {
            let next = self.with_state(|state, now| state.tick(now));
            tokio::select! {
                () = self.sleep_until(next) => {}
                () = self.alarm_changed.notified() => {}
                () = self.shutdown_started() => return,
            }
        }
    }
}
