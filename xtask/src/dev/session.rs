//! The loop of `dev`: what the session owns, what happens to it, and shutdown.

mod processes;
mod reload;
mod startup;

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
use super::banner::Banner;
use super::builder::Build;
use super::declared::{Consumer, Declared};
use super::options::Options;
use super::process::ProcessReport;
use super::run_dir::RunDir;
use super::screen::Screen;
use super::service::Service;
use super::taps::{Tapped, Taps};
use super::tracer::Tracer;
use super::watch::Change;

/// How long processes have to finish what they have begun.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often timers are checked.
const TICK: Duration = Duration::from_millis(50);
/// A pull subscription with more messages than this is reported if nothing has read it for this long.
const MAX_UNREAD_BACKLOG: usize = 1000;
const UNREAD_TIME: Duration = Duration::from_secs(30);

pub(super) struct Session {
    options: Options,
    topology: LiveTopology,
    builds: Builds,
    admin: Admin,
    /// Subscriptions to results and dead letters, where Pub/Sub is another process.
    taps: Option<Taps>,
    /// The local Pub/Sub of this process: dropping the sender stops it.
    own_pubsub: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
    run_dir: RunDir,
    services: Vec<Service>,
    /// The number of the last process.
    last_number: u64,
    /// Asks processes whether they are ready.
    http: reqwest::Client,
    reports: mpsc::Sender<ProcessReport>,
    tracer: Tracer,
    screen: Screen,
    /// Services that the banner waits for; `None` once it is shown.
    awaited: Option<BTreeSet<String>>,
    /// What differs from a deployment.
    notes: Vec<String>,
    /// Subscriptions whose backlog was reported.
    warned: BTreeSet<String>,
    /// When shutdown began.
    stopping: Option<Instant>,
    /// Why it began, if not by a signal.
    failed: Option<anyhow::Error>,
    /// Watches until it is dropped.
    _watcher: notify::RecommendedWatcher,
}

/// The topology, as it was last right.
struct LiveTopology {
    path: PathBuf,
    /// The text of the file as it was last read, right or not.
    text: String,
    parsed: Topology,
    context: Context,
    declared: Declared,
    /// The copy of the file that processes read.
    copy: PathBuf,
}

/// The function's binary, and the build that makes the next one.
struct Builds {
    /// The copy that processes are started from.
    binary: Option<PathBuf>,
    /// When the original of the copy was written, and its length.
    stamp: Option<(SystemTime, u64)>,
    running: Option<Build>,
    /// Sources changed during the build.
    again: bool,
    done: mpsc::Sender<Result<PathBuf>>,
}

/// Where everything that happens comes from.
pub(super) struct Inputs {
    signals: mpsc::Receiver<()>,
    reports: mpsc::Receiver<ProcessReport>,
    built: mpsc::Receiver<Result<PathBuf>>,
    changes: mpsc::Receiver<Change>,
    events: Option<broadcast::Receiver<Event>>,
    tapped: mpsc::Receiver<Tapped>,
}

impl Session {
    /// Runs until a signal, and then until everything has ended.
    pub(super) async fn run(mut self, mut inputs: Inputs) -> Result<()> {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut forced = false;
        loop {
            if self.stopping.is_some() && self.builds.running.is_none() && self.services.iter().all(Service::is_idle) {
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
                    let traces = self.tracer.published(&topic, &message.data, attributes);
                    traces.iter().for_each(|trace| self.screen.trace(trace));
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
        // Nothing more will be learned about the last messages: show them as they are.
        let far = Instant::now() + Duration::from_secs(3600);
        self.tracer.due(far).iter().for_each(|trace| self.screen.trace(trace));
        if let Some(taps) = self.taps.take() {
            taps.close(&self.admin).await;
        }
        if let Some((stop, task)) = self.own_pubsub.take() {
            drop(stop);
            let _ = task.await;
        }
        drop(self.run_dir);
        if forced {
            std::process::exit(130);
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// Begins shutdown: stops pushes, and tells all processes to end.
    async fn stop(&mut self) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(Instant::now());
        self.screen.status("service", "stopping", json!({}), "stopping; press Ctrl-C again to end at once");
        for subscription in &self.topology.declared.subscriptions {
            if let Consumer::Service(_) = subscription.consumer
                && let Err(error) = self.admin.point(subscription, None).await
            {
                eprintln!("warning: {error:#}");
            }
        }
        self.services.iter_mut().for_each(Service::stop);
        self.builds.running.iter_mut().for_each(Build::cancel);
    }

    fn kill(&mut self) {
        self.services.iter_mut().for_each(Service::kill);
        self.builds.running.iter_mut().for_each(Build::cancel);
    }

    /// Shuts down because nothing can be run.
    async fn give_up(&mut self, error: anyhow::Error) {
        self.failed = Some(error);
        self.stop().await;
    }

    fn event(&mut self, event: Result<Event, u64>) {
        match event {
            Ok(event) => {
                let traces = self.tracer.event(&event, Instant::now());
                traces.iter().for_each(|trace| self.screen.trace(trace));
            }
            Err(missed) => self.screen.notice(&format!("{missed} events of messages were too fast to be shown")),
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.tracer.due(now).iter().for_each(|trace| self.screen.trace(trace));
        self.services.iter_mut().for_each(|service| service.retire(now));
        if self.stopping.is_some_and(|since| since + DRAIN_TIMEOUT <= now) {
            self.kill();
        }
        if self.stopping.is_none() {
            self.restart(now);
            self.check_backlogs(now);
        }
    }

    /// Reports pull subscriptions that nothing reads: their messages stay in memory until Pub/Sub is full.
    fn check_backlogs(&mut self, now: Instant) {
        let Some(local) = &self.admin.local else { return };
        for subscription in
            self.topology.declared.subscriptions.iter().filter(|subscription| subscription.consumer == Consumer::Pull)
        {
            let name = subscription.name();
            let unread = || self.tracer.last_read(name).is_none_or(|time| time + UNREAD_TIME <= now);
            if !self.warned.contains(name)
                && local.backlog(name).is_some_and(|backlog| backlog > MAX_UNREAD_BACKLOG)
                && unread()
            {
                self.warned.insert(name.to_owned());
                let short = subscription.resource.id.short();
                let most = Limits::default().messages;
                self.screen.notice(&format!(
                    "subscription `{short}` holds more than {MAX_UNREAD_BACKLOG} messages, and no subscriber pulls them; the local \
                     Pub/Sub keeps {most} in all and refuses more. `cargo run -- --pull {short}` processes them"
                ));
            }
        }
    }

    /// Shows once, when all services have started, what runs where.
    fn show_banner(&mut self) {
        if self.awaited.as_ref().is_none_or(|awaited| !awaited.is_empty()) {
            return;
        }
        self.awaited = None;
        let notes: Vec<String> = self.topology.declared.notes.iter().chain(&self.notes).cloned().collect();
        let here = std::env::current_dir().ok();
        let short = here.as_ref().and_then(|here| self.topology.path.strip_prefix(here).ok());
        let file = short.unwrap_or(&self.topology.path).display();
        let watched = match &self.options.binary {
            Some(_) => format!("Changes of {file} are applied. "),
            None => format!("Changes of function/, infra/ and {file} are applied. "),
        };
        let banner = Banner {
            topology: &self.topology.parsed,
            declared: &self.topology.declared,
            services: &self.services,
            project: &self.topology.context.project,
            pubsub_host: &self.admin.address,
            own: self.own_pubsub.is_some(),
            file: self.options.file.as_deref(),
            watched: &watched,
            notes: &notes,
        };
        let (text, json) = (banner.text(), banner.json());
        self.screen.banner(&text, &json);
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
