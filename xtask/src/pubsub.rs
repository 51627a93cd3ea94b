//! What the verbs that handle messages share: the project, the topology, names and clients.

mod rest;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use deploy::cloud::{Api, Settings};
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{BasePublisher, SubscriptionAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;
use google_cloud_storage::client::Storage;
use infra::error_chain;
use infra::topology::Topology;
pub(crate) use rest::Rest;
use tokio::time::{Interval, interval};

use crate::flags::Target;
use crate::topology;

/// Messages handed to the publisher and not yet answered for, and their bytes: the client's own queue has no bound.
pub(crate) const IN_FLIGHT: usize = 1000;
pub(crate) const BYTES_IN_FLIGHT: usize = 32 << 20;

/// How long one publish is tried.
const PATIENCE: Duration = Duration::from_secs(20);
/// Objects are in memory already, and stand-ins ignore preconditions on resumable uploads.
const ONE_REQUEST: usize = 1 << 30;

/// The Pub/Sub of one project, and what is declared of it.
pub(crate) struct PubSub {
    settings: Settings,
    pub(crate) project: String,
    pub(crate) topology: Topology,
}

impl PubSub {
    pub(crate) fn find(target: &Target) -> Result<Self> {
        function::cloud::use_ring();
        let settings = Settings::find(target.project.as_deref(), None);
        let project = settings.project()?.to_owned();
        let topology = topology::read(&target.declaration)?;
        Ok(Self { settings, project, topology })
    }

    /// `projects/P/topics/T` of a short or full name.
    pub(crate) fn topic(&self, name: &str) -> String {
        self.full("topics", name)
    }

    /// `projects/P/subscriptions/S` of a short or full name.
    pub(crate) fn subscription(&self, name: &str) -> String {
        self.full("subscriptions", name)
    }

    fn full(&self, collection: &str, name: &str) -> String {
        if name.contains('/') { name.to_owned() } else { format!("projects/{}/{collection}/{name}", self.project) }
    }

    /// Where Pub/Sub is, for errors.
    pub(crate) fn place(&self) -> String {
        self.settings.endpoint(Api::PubSub).url.unwrap_or_else(|| Api::PubSub.service().to_owned())
    }

    pub(crate) async fn publisher(&self) -> Result<BasePublisher> {
        let mut builder = BasePublisher::builder()
            .with_credentials(self.settings.credentials(Api::PubSub)?)
            .with_retry_policy(RetryableErrors.with_time_limit(PATIENCE));
        if let Some(url) = self.settings.endpoint(Api::PubSub).url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.with_context(|| format!("making a client for {}", self.place()))
    }

    /// Calls that no client has.
    pub(crate) fn rest(&self) -> Result<Rest> {
        let endpoint = self.settings.endpoint(Api::PubSub);
        Rest::new(endpoint, self.settings.credentials(Api::PubSub)?)
    }

    pub(crate) async fn admin(&self) -> Result<SubscriptionAdmin> {
        let mut builder = SubscriptionAdmin::builder().with_credentials(self.settings.credentials(Api::PubSub)?);
        if let Some(url) = self.settings.endpoint(Api::PubSub).url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.with_context(|| format!("making a client for {}", self.place()))
    }

    pub(crate) async fn storage(&self) -> Result<Storage> {
        let mut builder = Storage::builder()
            .with_credentials(self.settings.credentials(Api::Storage)?)
            .with_resumable_upload_threshold(ONE_REQUEST);
        if let Some(url) = self.settings.endpoint(Api::Storage).url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.context("making a client for Cloud Storage")
    }

    /// A failed call: what was tried, why it failed, and what to do where that is known.
    pub(crate) fn failed(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
        let code = std::iter::successors(Some(error), |error| error.source()).find_map(|cause| {
            let shared = cause.downcast_ref::<Arc<Error>>().map(|error| &**error);
            Some(cause.downcast_ref::<Error>().or(shared)?.status()?.code)
        });
        anyhow!("{what} at {}: {}\n  help: {}", self.place(), error_chain(error), help(code))
    }
}

/// What to do about a failed call.
fn help(code: Option<Code>) -> &'static str {
    match code {
        Some(Code::NotFound) => {
            "it does not exist; `cargo xtask deploy` creates what is declared, and `cargo xtask dev` on this machine"
        }
        Some(Code::PermissionDenied | Code::Unauthenticated) => {
            "not allowed; `cargo xtask doctor` looks at your credentials"
        }
        _ => "check that the service answers there, and PUBSUB_EMULATOR_HOST",
    }
}

/// So many a second, evenly; a late one is made up for.
pub(crate) fn pace(rate: Option<f64>) -> Option<Interval> {
    rate.map(|rate| interval(Duration::from_secs_f64(1.0 / rate)))
}

/// Waits for the next one's time.
pub(crate) async fn tick(pace: &mut Option<Interval>) {
    if let Some(pace) = pace {
        pace.tick().await;
    }
}
