//! The start of a session: Pub/Sub and the declared resources in it, the services, the first build.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use deploy::cloud::Settings;
use deploy::resources::Context;
use pubsub::{Limits, LocalPubSub};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Builds, Inputs, LiveTopology, Session};
use crate::dev::admin::Admin;
use crate::dev::declared::Declared;
use crate::dev::options::Options;
use crate::dev::run_dir::RunDir;
use crate::dev::screen::Screen;
use crate::dev::signals::signals;
use crate::dev::taps::Taps;
use crate::dev::tracer::Tracer;
use crate::dev::watch;
use crate::{flags, topology};

impl Session {
    /// Creates the declared topics and subscriptions, and begins the first build.
    pub(crate) async fn start(flags: &flags::Dev) -> Result<(Self, Inputs)> {
        let signals = signals()?;
        let path = topology::path(flags.declaration.topology.as_deref());
        let text = infra::text::read(&path).with_context(|| format!("reading the topology {}", path.display()))?;
        let topology = topology::parse(&text, &path, flags.declaration.env.as_deref())?;
        let found = Settings::find(flags.project.as_deref(), None);
        let options = Options::resolve(flags, &found, &topology)?;
        let project = if found.project_found().is_some() { found.project()?.to_owned() } else { "local".to_owned() };
        let context = Context { project, number: "0".to_owned(), region: "local".to_owned(), archive: None };

        let declared = Declared::new(&topology, &context, |name| options.takes(name), flags.bus.is_none());
        let (own_pubsub, handle, address) = match &flags.bus {
            Some(address) => (None, None, address.clone()),
            None => {
                let pubsub = bind(flags.port, flags.data_dir.as_deref())?;
                let (handle, address) = (pubsub.handle(), pubsub.address().to_string());
                for subscription in &declared.subscriptions {
                    // With a data directory, endpoints of the last run are still set. Its processes are gone, and their
                    // ports may be other programs' by now.
                    handle.stop_pushing(subscription.name());
                }
                let (stop, stopped) = oneshot::channel();
                let task = tokio::spawn(pubsub.run(async { drop(stopped.await) }));
                (Some((stop, task)), Some(handle), address)
            }
        };
        let events = handle.as_ref().map(pubsub::Handle::events);
        let admin = Admin::connect(&address, handle).await?;
        admin.apply(&Declared::default(), &declared).await?;
        let (tap, tapped) = mpsc::channel(64);
        let taps = if own_pubsub.is_none() { Some(Taps::new(&address, tap).await?) } else { None };

        let run_dir = RunDir::make()?;
        let copy = run_dir.topology(&text)?;
        let (change, changes) = mpsc::channel(4);
        let watcher = watch::watch(&path, options.builds(), change)?;
        let (reports, report) = mpsc::channel(1024);
        let (done, built) = mpsc::channel(1);
        let mut session = Self {
            options,
            topology: LiveTopology { path, text, parsed: topology, context, declared, copy },
            builds: Builds { binary: None, stamp: None, running: None, again: false, done },
            admin,
            taps,
            tracer: Tracer::new(own_pubsub.is_some()),
            own_pubsub,
            run_dir,
            services: Vec::new(),
            last_number: 0,
            http: reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?,
            reports,
            screen: Screen::new(flags.json),
            awaited: Some(BTreeSet::new()),
            notes: Vec::new(),
            warned: BTreeSet::new(),
            stopping: None,
            failed: None,
            _watcher: watcher,
        };
        session.prepare().await?;
        let inputs = Inputs { signals, reports: report, built, changes, events, tapped };
        Ok((session, inputs))
    }

    /// Prepares the services, which have no processes yet, and begins the build or starts the given binary.
    async fn prepare(&mut self) -> Result<()> {
        let (services, notes) = self.wanted();
        self.services = services;
        self.notes = notes;
        if self.own_pubsub.is_none() {
            let why = "this Pub/Sub pushes plain messages without tokens, so neither Eventarc's form nor the check of tokens is tested";
            self.notes.push(why.to_owned());
        }
        self.follow_declared().await?;
        self.point_all().await?;
        let here: BTreeSet<String> = self
            .services
            .iter()
            .filter(|service| service.external.is_none())
            .map(|service| service.name().to_owned())
            .collect();
        let (topics, subscriptions) = (self.topology.declared.topics.len(), self.topology.declared.subscriptions.len());
        let text = format!("Pub/Sub on {}: {topics} topics, {subscriptions} subscriptions", self.admin.address);
        let nothing_to_run = here.is_empty();
        self.awaited = Some(here);
        if nothing_to_run {
            self.show_banner();
        } else if let Some(binary) = self.options.binary.clone() {
            self.screen.status(
                "build",
                "skipped",
                json!({"binary": binary}),
                &format!("{text}; starting {}", binary.display()),
            );
            self.builds.binary = Some(self.run_dir.binary(&binary)?);
            self.start_all();
        } else {
            self.screen.status("build", "started", json!({}), &format!("{text}; building the function"));
            self.start_build()?;
        }
        Ok(())
    }
}

fn bind(port: u16, directory: Option<&Path>) -> Result<LocalPubSub> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let pubsub = match directory {
        Some(directory) => LocalPubSub::open(address, Limits::default(), directory),
        None => LocalPubSub::bind(address, Limits::default()),
    };
    pubsub.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{error}\n  help: if a Pub/Sub runs there, use it with `--bus 127.0.0.1:{port}`; else take another port with `--port 0`"
        ),
        _ => error.into(),
    })
}
