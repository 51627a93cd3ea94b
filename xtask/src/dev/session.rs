//! The loop: what there is, what happens to it, and the end.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, anyhow, bail};
use infra::cloud::{Api, Settings};
use infra::local::{Bus, Event, Limits};
use infra::plan::Context;
use infra::topology::Topology;
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
use super::taps::{Tapped, Taps};
use super::watch::{self, Change};
use crate::{flags, topology};

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
    bus: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
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
    warned: BTreeSet<String>,
    pub(super) stopping: Option<Instant>,
    failed: Option<anyhow::Error>,
    pub(super) reports: mpsc::Sender<Report>,
    pub(super) built: mpsc::Sender<Result<PathBuf>>,
    /// Watches as long as it is there.
    _watcher: notify::RecommendedWatcher,
}

/// What the command line says.
pub(super) struct Options {
    pub(super) environment: Option<String>,
    pub(super) only: Vec<String>,
    pub(super) elsewhere: Vec<(String, String)>,
    pub(super) storage: bool,
    binary: Option<PathBuf>,
}

impl Options {
    pub(super) fn takes(&self, service: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == service)
    }

    pub(super) fn elsewhere(&self, service: &str) -> Option<&str> {
        self.elsewhere.iter().find(|(name, _)| name == service).map(|(_, url)| url.as_str())
    }

    fn check(&self, topology: &Topology) -> Result<()> {
        let named = self.only.iter().chain(self.elsewhere.iter().map(|(name, _)| name));
        for name in named {
            if topology.service(name).is_none() {
                let declared: Vec<&str> = topology.services.iter().map(|service| service.name.as_str()).collect();
                bail!("the topology declares no service `{name}`; declared are: {}", declared.join(", "));
            }
            if !self.takes(name) {
                bail!("`{name}` is not among the services of --only");
            }
        }
        Ok(())
    }
}

/// Where everything that happens comes from.
pub(super) struct Inputs {
    signals: mpsc::Receiver<()>,
    reports: mpsc::Receiver<Report>,
    built: mpsc::Receiver<Result<PathBuf>>,
    changes: mpsc::Receiver<Change>,
    events: Option<broadcast::Receiver<Event>>,
    tapped: mpsc::Receiver<Tapped>,
}

impl Session {
    /// Makes what is declared, and begins with the build.
    pub(super) async fn start(flags: &flags::Dev) -> Result<(Self, Inputs)> {
        let signals = signals()?;
        let path = topology::path(flags.declaration.topology.as_deref());
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("reading the topology {}", path.display()))?;
        let topology = topology::parse(&text, &path, flags.declaration.env.as_deref())?;
        let found = Settings::find(flags.project.as_deref(), None);
        let settings = Options {
            environment: flags.declaration.env.clone(),
            only: flags.only.clone(),
            elsewhere: flags.service.clone(),
            storage: found.endpoint(Api::Storage).is_local(),
            binary: flags.binary.clone(),
        };
        settings.check(&topology)?;
        let project = if found.project_found().is_some() { found.project()?.to_owned() } else { "local".to_owned() };
        let context = Context { project, number: "0".to_owned(), region: "local".to_owned(), archive: None };

        let (bus, handle, address) = match &flags.bus {
            Some(address) => (None, None, address.clone()),
            None => {
                let bus = bind(flags.port)?;
                let (handle, address) = (bus.handle(), bus.address().to_string());
                let (stop, stopped) = oneshot::channel();
                let task = tokio::spawn(bus.run(async { drop(stopped.await) }));
                (Some((stop, task)), Some(handle), address)
            }
        };
        let events = handle.as_ref().map(infra::local::Handle::events);
        let admin = Admin::connect(&address, handle).await?;
        let declared = Declared::new(&topology, &context, |name| settings.takes(name), bus.is_some());
        admin.apply(&Declared::default(), &declared).await?;
        let (tap, tapped) = mpsc::channel(64);
        let taps = if bus.is_none() { Some(Taps::new(&address, tap).await?) } else { None };

        let folder = Folder::make()?;
        let file = folder.topology(&text)?;
        let (change, changes) = mpsc::channel(4);
        let watcher = watch::watch(&path, settings.binary.is_none(), change)?;
        let (reports, report) = mpsc::channel(1024);
        let (built, build) = mpsc::channel(1);
        let screen = Screen::new(flags.json);
        let mut session = Self {
            messages: Messages::new(bus.is_some()),
            http: reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?,
            notes: Vec::new(),
            awaited: Some(BTreeSet::new()),
            warned: BTreeSet::new(),
            services: Vec::new(),
            last_number: 0,
            binary: None,
            written: None,
            build: None,
            build_again: false,
            stopping: None,
            failed: None,
            _watcher: watcher,
            settings,
            path,
            text,
            topology,
            context,
            declared,
            admin,
            taps,
            bus,
            folder,
            file,
            screen,
            reports,
            built,
        };
        session.prepare().await?;
        let inputs = Inputs { signals, reports: report, built: build, changes, events, tapped };
        Ok((session, inputs))
    }

    /// Services without processes yet, and the build.
    async fn prepare(&mut self) -> Result<()> {
        let (services, notes) = self.wanted();
        self.services = services;
        self.notes = notes;
        if self.bus.is_none() {
            let why = "this Pub/Sub pushes plain messages without tokens: neither Eventarc's form nor a check of tokens is tried";
            self.notes.push(why.to_owned());
        }
        self.listen().await?;
        self.point_all().await?;
        let here: BTreeSet<String> = self
            .services
            .iter()
            .filter(|service| service.elsewhere.is_none())
            .map(|service| service.name().to_owned())
            .collect();
        let (topics, subscriptions) = (self.declared.topics.len(), self.declared.subscriptions.len());
        let text = format!("Pub/Sub on {}: {topics} topics, {subscriptions} subscriptions", self.admin.address);
        let nothing_to_run = here.is_empty();
        self.awaited = Some(here);
        if nothing_to_run {
            self.introduce();
        } else if let Some(binary) = self.settings.binary.clone() {
            self.screen.news(
                "build",
                "skipped",
                json!({"binary": binary}),
                &format!("{text}; starting {}", binary.display()),
            );
            self.binary = Some(self.folder.binary(&binary)?);
            self.start_all();
        } else {
            self.screen.news("build", "started", json!({}), &format!("{text}; building the function"));
            self.begin_build();
        }
        Ok(())
    }

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
        let file = self.path.display();
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

fn bind(port: u16) -> Result<Bus> {
    Bus::bind(SocketAddr::from(([127, 0, 0, 1], port)), Limits::default()).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{error}\n  help: if a Pub/Sub runs there, use it with `--bus 127.0.0.1:{port}`; else take another port with `--port 0`"
        ),
        _ => error.into(),
    })
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

/// SIGINT, SIGTERM and SIGHUP. The third ends this process whatever it does.
fn signals() -> Result<mpsc::Receiver<()>> {
    let (send, receive) = mpsc::channel(2);
    #[cfg(unix)]
    let mut kinds = {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).context("listening for signals");
        [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]
    };
    tokio::spawn(async move {
        for count in 1.. {
            #[cfg(unix)]
            {
                let [interrupt, terminate, hangup] = &mut kinds;
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            }
            #[cfg(not(unix))]
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            let _ = send.try_send(());
            if count > 2 {
                std::process::exit(130);
            }
        }
    });
    Ok(receive)
}
