//! What follows from changes of sources and topology.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::builder::Build;
use super::declared::Declared;
use super::environment::{Environment, Surroundings};
use super::service::{Service, essence};
use super::session::Session;
use super::watch::Change;
use crate::topology;

impl Session {
    pub(super) async fn change(&mut self, change: Change) {
        if change.topology {
            self.read_topology().await;
        }
        if change.sources && self.builds() {
            if self.build.is_some() {
                self.build_again = true;
            } else {
                self.screen.news("build", "started", json!({}), "sources changed: building the function");
                self.build_anew();
            }
        }
    }

    pub(super) fn begin_build(&mut self) -> Result<()> {
        self.build = Some(Build::start(self.built.clone())?);
        Ok(())
    }

    fn build_anew(&mut self) {
        if let Err(error) = self.begin_build() {
            self.screen.notice(&format!("{error:#}"));
        }
    }

    /// Cargo has ended.
    pub(super) async fn built(&mut self, built: Result<PathBuf>) {
        if let Some(build) = self.build.take() {
            build.ended();
        }
        if self.stopping.is_some() {
            return;
        }
        if std::mem::take(&mut self.build_again) {
            return self.build_anew();
        }
        match built.and_then(|binary| self.take_over(&binary)) {
            Ok(true) => self.start_all(),
            Ok(false) => self.screen.news("build", "unchanged", json!({}), "the function is as it was"),
            Err(error) if self.binary.is_none() => self.give_up(error).await,
            Err(error) => {
                let text = format!("{error:#}; what ran before goes on");
                self.screen.news("build", "failed", json!({"error": format!("{error:#}")}), &text);
            }
        }
    }

    /// Copies the binary; `false` if it is the one that runs.
    fn take_over(&mut self, binary: &Path) -> Result<bool> {
        let data = std::fs::metadata(binary).with_context(|| format!("looking at {}", binary.display()))?;
        let written = data.modified().ok().map(|time| (time, data.len()));
        if written.is_some() && written == self.written {
            return Ok(false);
        }
        self.binary = Some(self.folder.binary(binary)?);
        self.written = written;
        Ok(true)
    }

    async fn read_topology(&mut self) {
        let failed = |session: &mut Self, error: anyhow::Error| {
            let text = format!("{error:#}\nwhat was declared before goes on");
            session.screen.news("topology", "refused", json!({"error": format!("{error:#}")}), &text);
        };
        let text = match infra::text::read(&self.path) {
            Ok(text) if text == self.text => return,
            Ok(text) => text,
            // Between an editor's steps there may be no file; when there is one again, that is a change.
            Err(_) => return,
        };
        self.text.clone_from(&text);
        let parsed = topology::parse(&text, &self.path, self.settings.environment.as_deref());
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
        let tokens = self.is_own_bus();
        let declared = Declared::new(&topology, &self.context, |name| self.settings.takes(name), tokens);
        let done = self.admin.apply(&self.declared, &declared).await?;
        self.file = self.folder.topology(text)?;
        self.declared = declared;
        self.topology = topology;
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
                        changed.push(format!("service {name} starts anew"));
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
        for note in notes.iter().chain(&self.declared.notes).filter(|note| !self.notes.contains(note)) {
            changed.push(format!("note: {note}"));
        }
        self.notes.extend(notes);
        self.notes.sort_unstable();
        self.notes.dedup();
        self.listen().await?;
        self.point_all().await?;
        let what = if changed.is_empty() { "nothing that matters here".to_owned() } else { changed.join("\n  ") };
        self.screen.news("topology", "applied", json!({"changes": changed}), &format!("topology changed:\n  {what}"));
        start.iter().for_each(|name| self.start_one(name));
        Ok(())
    }

    /// The declared services that are part of this run, without processes; and what is not as declared.
    pub(super) fn wanted(&self) -> (Vec<Service>, Vec<String>) {
        let surroundings = Surroundings {
            topology: &self.topology,
            file: &self.file,
            context: &self.context,
            bus: &self.admin.address,
            storage: self.settings.storage,
        };
        let mut all = Vec::new();
        let mut notes = Vec::new();
        for service in self.topology.services.iter().filter(|service| self.settings.takes(&service.name)) {
            let identity = self.declared.identities.get(&service.name);
            let (environment, more) = Environment::new(service, identity, &surroundings);
            notes.extend(more);
            let elsewhere = self.settings.elsewhere(&service.name).map(str::to_owned);
            all.push(Service::new(service.clone(), environment, elsewhere));
        }
        (all, notes)
    }

    /// Has messages told as they are declared now.
    pub(super) async fn listen(&mut self) -> Result<()> {
        self.messages.declare(&self.declared, |service| self.settings.elsewhere(service).is_none());
        if let Some(taps) = &mut self.taps {
            let topics = self.declared.results.iter().chain(&self.declared.dead_letters);
            taps.open(&self.admin, topics).await?;
        }
        Ok(())
    }
}
