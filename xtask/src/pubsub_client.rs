//! What the verbs that handle messages share: the project, the topology, names and clients.
//!
//! - `rest`: methods that the official client lacks; `help`: hints about failed requests

mod help;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use deploy::cloud::{Api, Settings};
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{BasePublisher, SubscriptionAdmin};
use google_cloud_pubsub::retry_policy::RetryableErrors;
use google_cloud_storage::client::Storage;
use help::help;
use infra::error_chain;
use infra::topology::Topology;
pub(crate) use rest::RetryingRestClient;
use tokio::time::{Interval, interval};

use crate::flags::Target;
use crate::topology;

/// The most messages, and the most bytes of them, that the publisher holds and has not confirmed: the official client's
/// queue has no bound.
pub(crate) const MAX_IN_FLIGHT: usize = 1000;
pub(crate) const MAX_BYTES_IN_FLIGHT: usize = 32 << 20;

/// How long a publish is retried.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(20);
/// Larger objects are uploaded in several requests: none is, since they are in memory already, and emulators ignore
/// preconditions on resumable uploads.
const RESUMABLE_UPLOAD_BYTES: usize = 1 << 30;

/// The Pub/Sub of one project, and the topology that declares it.
pub(crate) struct PubSubClient {
    settings: Settings,
    pub(crate) project: String,
    pub(crate) topology: Topology,
}

impl PubSubClient {
    pub(crate) fn find(target: &Target) -> Result<Self> {
        function::clients::use_ring();
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

    /// The address of Pub/Sub, for errors.
    pub(crate) fn address(&self) -> String {
        self.settings.endpoint(Api::PubSub).url.unwrap_or_else(|| Api::PubSub.service().to_owned())
    }

    pub(crate) async fn publisher(&self) -> Result<BasePublisher> {
        let mut builder = BasePublisher::builder()
            .with_credentials(self.settings.credentials(Api::PubSub)?)
            .with_retry_policy(RetryableErrors.with_time_limit(PUBLISH_TIMEOUT));
        if let Some(url) = self.settings.endpoint(Api::PubSub).url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.with_context(|| format!("making a client for {}", self.address()))
    }

    /// A client for methods that the official client lacks.
    pub(crate) fn rest(&self) -> Result<RetryingRestClient> {
        RetryingRestClient::new(&self.settings)
    }

    pub(crate) async fn admin(&self) -> Result<SubscriptionAdmin> {
        let mut builder = SubscriptionAdmin::builder().with_credentials(self.settings.credentials(Api::PubSub)?);
        if let Some(url) = self.settings.endpoint(Api::PubSub).url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.with_context(|| format!("making a client for {}", self.address()))
    }

    pub(crate) async fn storage(&self) -> Result<Storage> {
        let mut builder = Storage::builder()
            .with_credentials(self.settings.credentials(Api::Storage)?)
            .with_resumable_upload_threshold(RESUMABLE_UPLOAD_BYTES);
        if let Some(url) = self.settings.endpoint(Api::Storage).url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.context("making a client for Cloud Storage")
    }

    /// The error of a failed request: what was tried, why it failed, and what to do.
    pub(crate) fn failed(&self, what: &str, error: &(dyn std::error::Error + 'static)) -> anyhow::Error {
        let code = std::iter::successors(Some(error), |error| error.source()).find_map(|cause| {
            let shared = cause.downcast_ref::<Arc<Error>>().map(|error| &**error);
            Some(cause.downcast_ref::<Error>().or(shared)?.status()?.code)
        });
        anyhow!("{what} at {}: {}\n  help: {}", self.address(), error_chain(error), help(code))
    }
}

/// Ticks this many times a second, evenly; late ticks are made up for.
pub(crate) fn pace(rate: Option<f64>) -> Option<Interval> {
    rate.map(|rate| interval(Duration::from_secs_f64(1.0 / rate)))
}

/// Waits for the next tick.
pub(crate) async fn tick(pace: &mut Option<Interval>) {
    if let Some(pace) = pace {
        pace.tick().await;
    }
}
