//! What a change of the function's sources or of the topology does while the session runs.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::Session;
use crate::dev::builder::Build;
use crate::dev::declared::Declared;
use crate::dev::environment::{Environment, Surroundings};
use crate::dev::service::{Service, essence};
use crate::dev::watch::Change;
use crate::topology;

impl Session {
    pub(super) async fn change(&mut self, change: Change) {
        if change.topology {
            self.read_topology().await;
        }
        if change.sources && self.options.builds() {
            if self.builds.running.is_some() {
                self.builds.again = true;
            } else {
                self.screen.status("build", "started", json!({}), "sources changed: building the function");
                self.start_build_or_report();
            }
        }
    }

    pub(super) fn start_build(&mut self) -> Result<()> {
        self.builds.running = Some(Build::start(self.builds.done.clone())?);
        Ok(())
    }

    fn start_build_or_report(&mut self) {
        if let Err(error) = self.start_build() {
            self.screen.notice(&format!("{error:#}"));
        }
    }

    /// Handles the end of a build: starts processes of the new binary, if it is one.
    pub(super) async fn built(&mut self, built: Result<PathBuf>) {
        if let Some(build) = self.builds.running.take() {
            build.ended();
        }
        if self.stopping.is_some() {
            return;
        }
        if std::mem::take(&mut self.builds.again) {
            return self.start_build_or_report();
        }
        match built.and_then(|binary| self.adopt_binary(&binary)) {
            Ok(true) => self.start_all(),
            Ok(false) => self.screen.status("build", "unchanged", json!({}), "the function has not changed"),
            Err(error) if self.builds.binary.is_none() => self.give_up(error).await,
            Err(error) => {
                let text = format!("{error:#}; the previous build continues to run");
                self.screen.status("build", "failed", json!({"error": format!("{error:#}")}), &text);
            }
        }
    }

    /// Makes a copy of the built binary the one that processes are started from; `false` if it is the same as before.
    fn adopt_binary(&mut self, binary: &Path) -> Result<bool> {
        let data = std::fs::metadata(binary).with_context(|| format!("looking at {}", binary.display()))?;
        let written = data.modified().ok().map(|time| (time, data.len()));
        if written.is_some() && written == self.builds.stamp {
            return Ok(false);
        }
        self.builds.binary = Some(self.run_dir.binary(binary)?);
        self.builds.stamp = written;
        Ok(true)
    }

    async fn read_topology(&mut self) {
        let failed = |session: &mut Self, error: anyhow::Error| {
            let text = format!("{error:#}\nthe previous topology stays in effect");
            session.screen.status("topology", "refused", json!({"error": format!("{error:#}")}), &text);
        };
        let text = match infra::text::read(&self.topology.path) {
            Ok(text) if text == self.topology.text => return,
            Ok(text) => text,
            // An editor that replaces the file may remove it first; its new file is another change.
            Err(_) => return,
        };
        self.topology.text.clone_from(&text);
        let parsed = topology::parse(&text, &self.topology.path, self.options.environment.as_deref());
        match parsed {
            Ok(topology) => {
                if let Err(error) = self.apply(topology, &text).await {
                    failed(self, error);
                }
            }
            Err(error) => failed(self, error),
        }
    }

    async fn apply(&mut self, topology: infra::topology::Topology, text: &str) -> Result<()> {
        let tokens = self.own_pubsub.is_some();
        let declared = Declared::new(&topology, &self.topology.context, |name| self.options.takes(name), tokens);
        let done = self.admin.apply(&self.topology.declared, &declared).await?;
        self.topology.copy = self.run_dir.topology(text)?;
        self.topology.declared = declared;
        self.topology.parsed = topology;
        let (wanted, notes) = self.wanted();
        let mut changed: Vec<String> = done;
        let mut start = Vec::new();
        for service in &mut self.services {
            if wanted.iter().all(|wanted| wanted.name() != service.name()) && !service.leaving {
                changed.push(format!("service {} ends", service.name()));
                service.leaving = true;
                service.stop();
            }
        }
        for new in wanted {
            let name = new.name().to_owned();
            match self.services.iter_mut().find(|service| service.name() == name && !service.leaving) {
                Some(service) => {
                    let same = service.environment == new.environment
                        && essence(&service.declaration) == essence(&new.declaration);
                    (service.declaration, service.environment) = (new.declaration, new.environment);
                    if !same {
                        changed.push(format!("service {name} restarts"));
                        start.push(name);
                    }
                }
                None => {
                    changed.push(format!("service {name} starts"));
                    self.services.push(new);
                    start.push(name);
                }
            }
        }
        self.services.retain(|service| !service.leaving || !service.is_idle());
        for note in notes.iter().chain(&self.topology.declared.notes).filter(|note| !self.notes.contains(note)) {
            changed.push(format!("note: {note}"));
        }
        self.notes.extend(notes);
        self.notes.sort_unstable();
        self.notes.dedup();
        self.follow_declared().await?;
        self.point_all().await?;
        let what = if changed.is_empty() { "nothing that concerns this run".to_owned() } else { changed.join("\n  ") };
        self.screen.status("topology", "applied", json!({"changes": changed}), &format!("topology changed:\n  {what}"));
        start.iter().for_each(|name| self.start_one(name));
        Ok(())
    }

    /// The declared services that are part of this run, without processes; and notes on what differs from the
    /// declaration.
    pub(super) fn wanted(&self) -> (Vec<Service>, Vec<String>) {
        let surroundings = Surroundings {
            topology: &self.topology.parsed,
            file: &self.topology.copy,
            context: &self.topology.context,
            pubsub_host: &self.admin.address,
            storage: self.options.storage,
        };
        let mut all = Vec::new();
        let mut notes = Vec::new();
        for service in self.topology.parsed.services.iter().filter(|service| self.options.takes(&service.name)) {
            let identity = self.topology.declared.identities.get(&service.name);
            let (environment, more) = Environment::new(service, identity, &surroundings);
            notes.extend(more);
            let external = self.options.external(&service.name).map(str::to_owned);
            all.push(Service::new(service.clone(), environment, external));
        }
        (all, notes)
    }

    /// Has messages traced, and results and dead letters tapped, as they are declared now.
    pub(super) async fn follow_declared(&mut self) -> Result<()> {
        self.tracer.declare(&self.topology.declared, |service| self.options.external(service).is_none());
        if let Some(taps) = &mut self.taps {
            let topics = self.topology.declared.results.iter().chain(&self.topology.declared.dead_letters);
            taps.open(&self.admin, topics).await?;
        }
        Ok(())
    }
}
