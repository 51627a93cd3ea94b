//! The loop: what there is, what happens to it, and the end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use deploy::resources::Context;
use infra::topology::Topology;
use pubsub::{Event, Limits};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::admin::Admin;
use super::builder::Build;
use super::declared::{Declared, Feeds};
use super::folder::Folder;
use super::intro::Intro;
use super::messages::Messages;
use super::process::Report;
use super::screen::Screen;
use super::service::Service;
use super::start::Options;
use super::taps::{Tapped, Taps};
use super::watch::Change;

/// How long processes have to end what they do.
const DRAIN: Duration = Duration::from_secs(10);
/// How often the time is looked at.
const TICK: Duration = Duration::from_millis(50);
/// A pull subscription that nobody reads is worth a word with so many messages, and nobody has read it for so long.
const BACKLOG: usize = 1000;
const UNREAD: Duration = Duration::from_secs(30);

pub(super) struct Session {
    pub(super) settings: Options,
    /// The declaration's file, and its text as it was last looked at.
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) topology: Topology,
    pub(super) context: Context,
    pub(super) declared: Declared,
    pub(super) admin: Admin,
    pub(super) taps: Option<Taps>,
    pub(super) bus: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    pub(super) folder: Folder,
    /// The declaration's copy.
    pub(super) file: PathBuf,
    /// The copy that processes are started from.
    pub(super) binary: Option<PathBuf>,
    /// When the original was written, and its length.
    pub(super) written: Option<(SystemTime, u64)>,
    pub(super) build: Option<Build>,
    /// Sources changed during the build.
    pub(super) build_again: bool,
    pub(super) services: Vec<Service>,
    pub(super) last_number: u64,
    pub(super) http: reqwest::Client,
    pub(super) messages: Messages,
    pub(super) screen: Screen,
    /// Services that the start waits for; `None` once it is told.
    pub(super) awaited: Option<BTreeSet<String>>,
    pub(super) notes: Vec<String>,
    pub(super) warned: BTreeSet<String>,
    pub(super) stopping: Option<Instant>,
    pub(super) failed: Option<anyhow::Error>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) built: mpsc::Sender<Result<PathBuf>>,
    /// Watches as long as it is there.
    pub(super) _watcher: notify::RecommendedWatcher,
}

/// Where everything that happens comes from.
pub(super) struct Inputs {
    pub(super) signals: mpsc::Receiver<()>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) built: mpsc::Receiver<Result<PathBuf>>,
    pub(super) changes: mpsc::Receiver<Change>,
    pub(super) events: Option<broadcast::Receiver<Event>>,
    pub(super) tapped: mpsc::Receiver<Tapped>,
}

impl Session {
    /// Until a signal, and then until everything has ended.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forced = false;
        loop {
            if self.stopping.is_some() && self.build.is_none() && self.services.iter().all(Service::is_idle) {
                break;
            }
            tokio::select! {
                Some(()) = inputs.signals.recv() => {
                    if self.stopping.is_some() {
                        forced = true;
                        self.kill();
                    }
                    self.stop().await;
                }
                Some(report) = inputs.reports.recv() => self.report(report).await,
                Some(built) = inputs.built.recv() => self.built(built).await,
                Some(change) = inputs.changes.recv(), if self.stopping.is_none() => self.change(change).await,
                event = next(&mut inputs.events) => self.event(event),
                Some((topic, message)) = inputs.tapped.recv() => {
                    let attributes = message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                    let ways = self.messages.published(&topic, &message.data, attributes);
                    ways.iter().for_each(|way| self.screen.way(way));
                }
                _ = tick.tick() => self.tick(),
            }
            if self.screen.is_gone() {
                self.stop().await;
            }
        }
        self.end(forced).await
    }

    async fn end(mut self, forced: bool) -> Result<()> {
        // What became of the last messages is known by now or never.
        let far = Instant::now() + Duration::from_secs(3600);
        self.messages.due(far).iter().for_each(|way| self.screen.way(way));
        if let Some(taps) = self.taps.take() {
            taps.close(&self.admin).await;
        }
        if let Some((stop, task)) = self.bus.take() {
            drop(stop);
            let _ = task.await;
        }
        drop(self.folder);
        if forced {
            std::process::exit(130);
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Takes no more pushes, and tells all processes to end.
    pub(super) async fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now());
        self.screen.news("service", "stopping", json!({}), "stopping; Ctrl-C again ends at once");
        for subscription in &self.declared.subscriptions {
            if let Feeds::Service(_) = subscription.feeds
                && let Err(error) = self.admin.point(subscription, None).await
            {
                eprintln!("warning: {error:#}");
            }
        }
        self.services.iter_mut().for_each(Service::stop);
        self.build.iter_mut().for_each(Build::cancel);
    }

    fn kill(&mut self) {
        self.services.iter_mut().for_each(Service::kill);
        self.build.iter_mut().for_each(Build::cancel);
    }

    /// Nothing can be run.
    pub(super) async fn give_up(&mut self, error: anyhow::Error) {
        self.failed = Some(error);
        self.stop().await;
    }

    fn event(&mut self, event: Result<Event, u64>) {
        match event {
            Ok(event) => {
                let ways = self.messages.event(&event, Instant::now());
                ways.iter().for_each(|way| self.screen.way(way));
            }
            Err(missed) => self.screen.notice(&format!("{missed} events of messages came too fast to be shown")),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.messages.due(now).iter().for_each(|way| self.screen.way(way));
        self.services.iter_mut().for_each(|service| service.retire(now));
        if self.stopping.is_some_and(|since| since + DRAIN <= now) {
            self.kill();
        }
        if self.stopping.is_none() {
            self.restart(now);
            self.look_at_backlogs(now);
        }
    }

    /// Messages that nobody pulls stay in memory until the bus is full.
    fn look_at_backlogs(&mut self, now: Instant) {
        let Some(local) = &self.admin.local else { return };
        for subscription in self.declared.subscriptions.iter().filter(|subscription| subscription.feeds == Feeds::Pull)
        {
            let name = subscription.name();
            let unread = || self.messages.last_read(name).is_none_or(|time| time + UNREAD <= now);
            if !self.warned.contains(name) && local.backlog(name).is_some_and(|backlog| backlog > BACKLOG) && unread() {
                self.warned.insert(name.to_owned());
                let short = subscription.resource.id.short();
                let most = Limits::default().messages;
                self.screen.notice(&format!(
                    "subscription `{short}` holds more than {BACKLOG} messages and nobody pulls them; Pub/Sub here keeps {most} in \
                     all and refuses more. `cargo run -- --pull {short}` works on them"
                ));
            }
        }
    }

    /// Tells what is where, once.
    pub(super) fn introduce(&mut self) {
        if self.awaited.as_ref().is_none_or(|awaited| !awaited.is_empty()) {
            return;
        }
        self.awaited = None;
        let notes: Vec<String> = self.declared.notes.iter().chain(&self.notes).cloned().collect();
        let here = std::env::current_dir().ok();
        let short = here.as_ref().and_then(|here| self.path.strip_prefix(here).ok());
        let file = short.unwrap_or(&self.path).display();
        let watched = match &self.settings.binary {
            Some(_) => format!("Changes of {file} are applied. "),
            None => format!("Changes of function/, infra/ and {file} are applied. "),
        };
        let intro = Intro {
            topology: &self.topology,
            declared: &self.declared,
            services: &self.services,
            project: &self.context.project,
            bus: &self.admin.address,
            own: self.bus.is_some(),
            file: self.settings.file.as_deref(),
            watched: &watched,
            notes: &notes,
        };
        let (text, json) = (intro.text(), intro.json());
        self.screen.start(&text, &json);
    }

    /// Tokens, and Eventarc's form of pushes.
    pub(super) fn is_own_bus(&self) -> bool {
        self.bus.is_some()
    }

    pub(super) fn builds(&self) -> bool {
        self.settings.binary.is_none()
    }
}

/// The next event, or how many were missed.
async fn next(events: &mut Option<broadcast::Receiver<Event>>) -> Result<Event, u64> {
    match events {
        Some(receiver) => match receiver.recv().await {
            Ok(event) => Ok(event),
            Err(RecvError::Lagged(missed)) => Err(missed),
            Err(RecvError::Closed) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
