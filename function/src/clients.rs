//! The clients of Google Cloud: which endpoints they use, and each built when it is first used.
//!
//! A cold start must not pay for a client that no message needs, so nothing here connects or looks for credentials
//! before the first publish, write or read.

mod write_once;

use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use google_cloud_auth::credentials::{Builder as ApplicationDefault, Credentials, anonymous};
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_policy::RetryPolicyExt;
use google_cloud_pubsub::client::{BasePublisher, Subscriber, SubscriptionAdmin};
use google_cloud_storage::client::Storage;
use infra::error_chain;
use tokio::sync::OnceCell;

pub use write_once::{generation, write_once};

/// How long one publish or write may take, retries included: less than Pub/Sub's shortest acknowledgement deadline, 10
/// s.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(8);

/// Objects up to this many bytes are sent in one request. Everything written here is in memory already, so a resumable
/// upload would only add a round trip; emulators also ignore preconditions on resumable uploads.
const MAX_SINGLE_REQUEST_BYTES: usize = 1 << 30;

/// Where Google Cloud is reached: the usual Google variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cloud {
    /// `GOOGLE_CLOUD_PROJECT`: the project that short names belong to.
    pub project: Option<String>,
    /// `PUBSUB_EMULATOR_HOST`: `HOST:PORT` of an emulator of Pub/Sub, reached over plain HTTP without credentials.
    pub pubsub_emulator: Option<String>,
    /// `STORAGE_EMULATOR_HOST`: `HOST:PORT` or `http://HOST:PORT` of an emulator of Cloud Storage, likewise.
    pub storage_emulator: Option<String>,
}

impl Cloud {
    /// Reads the variables of this process. An empty value counts as unset.
    pub fn from_env() -> Self {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            project: variable("GOOGLE_CLOUD_PROJECT"),
            pubsub_emulator: variable("PUBSUB_EMULATOR_HOST"),
            storage_emulator: variable("STORAGE_EMULATOR_HOST"),
        }
    }
}

/// The clients of one process, shared by everything that publishes, writes or reads. Built when first used.
#[derive(Debug)]
pub struct Clients {
    cloud: Cloud,
    deadline: Duration,
    pubsub: OnceCell<BasePublisher>,
    storage: OnceCell<Storage>,
}

/// A client could not be built: no usable credentials, or an endpoint that is not a URL.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a client for {service}: {cause}; check the credentials of this process and {variable}")]
pub struct ClientError {
    service: &'static str,
    variable: &'static str,
    #[source]
    cause: Box<dyn std::error::Error + Send + Sync>,
}

impl Clients {
    /// Clients for these endpoints; none is built yet.
    pub fn new(cloud: Cloud) -> Self {
        Self::with_deadline(cloud, DEFAULT_DEADLINE)
    }

    /// The same with another bound than [`DEFAULT_DEADLINE`] on each publish and write.
    pub fn with_deadline(cloud: Cloud, deadline: Duration) -> Self {
        Self { cloud, deadline, pubsub: OnceCell::new(), storage: OnceCell::new() }
    }

    /// How long one publish or write may take, retries included.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// The Pub/Sub publisher client, of which one connection serves all topics.
    pub async fn pubsub(&self) -> Result<&BasePublisher, ClientError> {
        let build = || async {
            use_ring();
            let mut builder = BasePublisher::builder()
                .with_retry_policy(google_cloud_pubsub::retry_policy::RetryableErrors.with_time_limit(self.deadline))
                .with_backoff_policy(backoff());
            if let Some(host) = &self.cloud.pubsub_emulator {
                builder = builder.with_endpoint(plain_http(host)).with_credentials(anonymous::Builder::new().build());
            }
            builder.build().await.map_err(|error| ClientError {
                service: "Pub/Sub",
                variable: "PUBSUB_EMULATOR_HOST",
                cause: error.into(),
            })
        };
        self.pubsub.get_or_try_init(build).await
    }

    /// A client that pulls from subscriptions, and one that reads how they are configured. Not cached: a process pulls
    /// from one.
    pub(crate) async fn subscriber(&self) -> Result<(Subscriber, SubscriptionAdmin), ClientError> {
        use_ring();
        let (mut subscriber, mut admin) = (Subscriber::builder(), SubscriptionAdmin::builder());
        if let Some(host) = &self.cloud.pubsub_emulator {
            let credentials = anonymous::Builder::new().build();
            subscriber = subscriber.with_endpoint(plain_http(host)).with_credentials(credentials.clone());
            admin = admin.with_endpoint(plain_http(host)).with_credentials(credentials);
        }
        let failed = |error: google_cloud_gax::client_builder::Error| ClientError {
            service: "Pub/Sub",
            variable: "PUBSUB_EMULATOR_HOST",
            cause: error.into(),
        };
        Ok((subscriber.build().await.map_err(failed)?, admin.build().await.map_err(failed)?))
    }

    /// The address of the JSON API of Cloud Storage, and the credentials for it: for requests that the client does not
    /// have.
    pub(crate) fn storage_api(&self) -> Result<(String, Credentials), ClientError> {
        use_ring();
        if let Some(host) = &self.cloud.storage_emulator {
            return Ok((plain_http(host).trim_end_matches('/').to_owned(), anonymous::Builder::new().build()));
        }
        let credentials = ApplicationDefault::default().build().map_err(|error| ClientError {
            service: "Cloud Storage",
            variable: "STORAGE_EMULATOR_HOST",
            cause: error.into(),
        })?;
        Ok(("https://storage.googleapis.com".to_owned(), credentials))
    }

    /// Whether messages come from an emulator of Pub/Sub.
    pub(crate) fn is_pubsub_emulated(&self) -> bool {
        self.cloud.pubsub_emulator.is_some()
    }

    /// The Cloud Storage client for reading and writing objects.
    pub async fn storage(&self) -> Result<&Storage, ClientError> {
        let build = || async {
            use_ring();
            let mut builder = Storage::builder()
                .with_resumable_upload_threshold(MAX_SINGLE_REQUEST_BYTES)
                .with_retry_policy(google_cloud_storage::retry_policy::RetryableErrors.with_time_limit(self.deadline))
                .with_backoff_policy(backoff());
            if let Some(host) = &self.cloud.storage_emulator {
                builder = builder.with_endpoint(plain_http(host)).with_credentials(anonymous::Builder::new().build());
            }
            builder.build().await.map_err(|error| ClientError {
                service: "Cloud Storage",
                variable: "STORAGE_EMULATOR_HOST",
                cause: error.into(),
            })
        };
        self.storage.get_or_try_init(build).await
    }
}

/// Makes ring the TLS provider of this process, once; one that the program chose before stays. The Google clients are
/// built without a provider of their own, so that the tree holds only one.
pub fn use_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error says that the process has a provider already, which may stay.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The body of a response, of at most `most` bytes.
///
/// # Errors
/// It is longer, or the connection breaks: why, for the log.
pub(crate) async fn read_answer(mut answer: reqwest::Response, most: usize) -> Result<Bytes, String> {
    let mut body = BytesMut::new();
    while let Some(part) = answer.chunk().await.map_err(|error| error_chain(&error))? {
        if body.len() + part.len() > most {
            return Err(format!("the answer has more than {most} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.freeze())
}

/// The backoff of the clients' own would start at 100 ms to 1 s and grow to a minute: too long for a deadline of
/// seconds.
fn backoff() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(100))
        .with_maximum_delay(Duration::from_secs(2))
        .clamp()
}

fn plain_http(host: &str) -> String {
    let host = host.trim_end_matches('/');
    if host.contains("://") { host.to_owned() } else { format!("http://{host}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulator_hosts_become_urls() {
        assert_eq!(plain_http("localhost:8085"), "http://localhost:8085");
        assert_eq!(plain_http("http://localhost:4443/"), "http://localhost:4443");
        assert_eq!(plain_http("[::1]:8085"), "http://[::1]:8085");
    }
}
