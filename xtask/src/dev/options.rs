//! The command line of `dev`, resolved.

use std::path::PathBuf;

use anyhow::{Result, bail};
use deploy::cloud::{Api, Settings};
use infra::topology::Topology;

use crate::flags;

pub(super) struct Options {
    pub(super) environment: Option<String>,
    /// The topology's file, if one is named.
    pub(super) file: Option<PathBuf>,
    only: Vec<String>,
    /// Services that run outside of this session, with their URLs.
    external: Vec<(String, String)>,
    /// Whether there is an emulator of Cloud Storage.
    pub(super) storage: bool,
    /// Run instead of building the function.
    pub(super) binary: Option<PathBuf>,
}

impl Options {
    /// # Errors
    /// A service is named that the topology does not declare, or that `--only` excludes.
    pub(super) fn resolve(flags: &flags::Dev, settings: &Settings, topology: &Topology) -> Result<Self> {
        let options = Self {
            environment: flags.declaration.env.clone(),
            file: flags.declaration.topology.clone(),
            only: flags.only.clone(),
            external: flags.service.clone(),
            storage: settings.endpoint(Api::Storage).url.is_some(),
            binary: flags.binary.clone(),
        };
        options.check(topology)?;
        Ok(options)
    }

    /// Whether a service is part of this run.
    pub(super) fn takes(&self, service: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == service)
    }

    /// The URL of a service that runs outside of this session.
    pub(super) fn external(&self, service: &str) -> Option<&str> {
        self.external.iter().find(|(name, _)| name == service).map(|(_, url)| url.as_str())
    }

    /// Whether the function is built here, and built again when its sources change.
    pub(super) fn builds(&self) -> bool {
        self.binary.is_none()
    }

    fn check(&self, topology: &Topology) -> Result<()> {
        let named = self.only.iter().chain(self.external.iter().map(|(name, _)| name));
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
