//! The state behind a lock, the clock, and waiting for what the state has not got yet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tonic::Status;

use super::Limits;
use super::event::Event;
use super::push::Client;
use super::queue::Want;
use super::state::{State, Taken};
use super::time::{Clock, Time};

/// What all connections and tasks of a bus share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
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
            state: Mutex::new(State::new(limits, events.clone(), Arc::clone(&alarm_changed))),
            clock: Clock::start(),
            alarm_changed,
            events,
            stopping: watch::Sender::new(false),
            last_holder: AtomicU64::new(0),
            client: Client::new(),
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
