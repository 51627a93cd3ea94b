//! Pub/Sub's REST API, for methods that the official client lacks.

use std::time::Duration;

use anyhow::{Result, bail};
use deploy::cloud::{Api, RequestLimits, RestClient, RestError, Settings};
use google_cloud_gax::backoff_policy::BackoffPolicy;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_state::RetryState;
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::help::help;

/// Bounds of the backoff between attempts.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A client that retries faults that may pass.
pub(crate) struct RetryingRestClient {
    client: RestClient,
    backoff: ExponentialBackoff,
}

impl RetryingRestClient {
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let backoff = ExponentialBackoffBuilder::new().with_initial_delay(MIN_BACKOFF).with_maximum_delay(MAX_BACKOFF);
        Ok(Self { client: RestClient::new(settings, Api::PubSub)?, backoff: backoff.clamp() })
    }

    /// Posts JSON to `/v1/PATH` and returns the response, of at most `max_bytes`. Faults that may pass are retried,
    /// with jittered backoff, until `timeout` is over.
    ///
    /// # Errors
    /// What failed, where, and what to do.
    pub(crate) async fn post(&self, path: &str, body: &Value, timeout: Duration, max_bytes: usize) -> Result<Vec<u8>> {
        let limits = RequestLimits { timeout: Some(timeout), max_bytes: Some(max_bytes) };
        let (path, url) = (format!("/v1/{path}"), format!("{}/v1/{path}", self.client.base()));
        let start = Instant::now();
        let mut failures: u32 = 0;
        loop {
            let (code, text) = match self.client.request(Method::POST, &path, Some(body), limits).await {
                Ok(response) if response.status.is_success() => return Ok(response.body),
                Ok(response) => {
                    let message = response.message().unwrap_or_default();
                    (Some(code(response.status)), format!("{} {message}", response.status))
                }
                Err(error @ RestError::Connection(_)) => (None, error.to_string()),
                Err(error) => bail!("{url}: {error}"),
            };
            failures += 1;
            let pause = self.backoff.on_failure(&RetryState::new(true).set_attempt_count(failures));
            let may_pass = matches!(code, None | Some(Code::Unavailable));
            if !may_pass || start.elapsed() + pause > timeout {
                bail!("{url}: {text}\n  help: {}", help(code));
            }
            sleep(pause).await;
        }
    }
}

/// The code of gRPC that hints about this status are found by.
fn code(status: StatusCode) -> Code {
    match status.as_u16() {
        404 => Code::NotFound,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        429 | 500.. => Code::Unavailable,
        _ => Code::InvalidArgument,
    }
}
