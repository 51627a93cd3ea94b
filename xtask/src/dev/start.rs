//! The start: Pub/Sub and what is declared in it, the services, the build.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use deploy::cloud::{Api, Settings};
use deploy::plan::Context;
use infra::topology::Topology;
use pubsub::{Limits, LocalPubSub};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::admin::Admin;
use super::declared::Declared;
use super::folder::Folder;
use super::messages::Messages;
use super::screen::Screen;
use super::session::{Inputs, Session};
use super::signals::signals;
use super::taps::Taps;
use super::watch;
use crate::{flags, topology};

/// What the command line says.
pub(super) struct Options {
    pub(super) environment: Option<String>,
    /// The declaration's file, if one is named.
    pub(super) file: Option<PathBuf>,
    pub(super) only: Vec<String>,
    pub(super) elsewhere: Vec<(String, String)>,
    pub(super) storage: bool,
    pub(super) binary: Option<PathBuf>,
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

impl Session {
    /// Makes what is declared, and begins with the build.
    pub(super) async fn start(flags: &flags::Dev) -> Result<(Self, Inputs)> {
        let signals = signals()?;
        let path = topology::path(flags.declaration.topology.as_deref());
        let text = infra::text::read(&path).with_context(|| format!("reading the topology {}", path.display()))?;
        let topology = topology::parse(&text, &path, flags.declaration.env.as_deref())?;
        let found = Settings::find(flags.project.as_deref(), None);
        let settings = Options {
            environment: flags.declaration.env.clone(),
            file: flags.declaration.topology.clone(),
            only: flags.only.clone(),
            elsewhere: flags.service.clone(),
            storage: found.endpoint(Api::Storage).url.is_some(),
            binary: flags.binary.clone(),
        };
        settings.check(&topology)?;
        let project = if found.project_found().is_some() { found.project()?.to_owned() } else { "local".to_owned() };
        let context = Context { project, number: "0".to_owned(), region: "local".to_owned(), archive: None };

        let declared = Declared::new(&topology, &context, |name| settings.takes(name), flags.bus.is_none());
        let (bus, handle, address) = match &flags.bus {
            Some(address) => (None, None, address.clone()),
            None => {
                let bus = bind(flags.port, flags.data_dir.as_deref())?;
                let (handle, address) = (bus.handle(), bus.address().to_string());
                for subscription in &declared.subscriptions {
                    // A process of an earlier run is gone, and its port may be another program's by now.
                    handle.stop_pushing(subscription.name());
                }
                let (stop, stopped) = oneshot::channel();
                let task = tokio::spawn(bus.run(async { drop(stopped.await) }));
                (Some((stop, task)), Some(handle), address)
            }
        };
        let events = handle.as_ref().map(pubsub::Handle::events);
        let admin = Admin::connect(&address, handle).await?;
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
            self.begin_build()?;
        }
        Ok(())
    }
}

fn bind(port: u16, directory: Option<&Path>) -> Result<LocalPubSub> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let bus = match directory {
        Some(directory) => LocalPubSub::open(address, Limits::default(), directory),
        None => LocalPubSub::bind(address, Limits::default()),
    };
    bus.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "{error}\n  help: if a Pub/Sub runs there, use it with `--bus 127.0.0.1:{port}`; else take another port with `--port 0`"
        ),
        _ => error.into(),
    })
}
