//! Pub/Sub's REST API, for methods that the official client lacks.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use deploy::cloud::{Api, Endpoint};
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_gax::backoff_policy::BackoffPolicy;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_state::RetryState;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::help::help;
use infra::causes;

/// Bounds of the backoff between attempts.
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

pub(crate) struct RestClient {
    client: reqwest::Client,
    base: String,
    credentials: Credentials,
    backoff: ExponentialBackoff,
}

/// A request that failed: without a code if there was no response.
struct FailedRequest {
    code: Option<Code>,
    text: String,
}

impl RestClient {
    pub(super) fn new(endpoint: Endpoint, credentials: Credentials) -> Result<Self> {
        let mut client = reqwest::Client::builder();
        if endpoint.is_local() {
            client = client.no_proxy();
        }
        let base = endpoint.url.unwrap_or_else(|| format!("https://{}", Api::PubSub.service()));
        let backoff = ExponentialBackoffBuilder::new().with_initial_delay(MIN_BACKOFF).with_maximum_delay(MAX_BACKOFF);
        Ok(Self { client: client.build()?, base, credentials, backoff: backoff.clamp() })
    }

    /// Posts JSON to `/v1/PATH` and returns the response, of at most `max_bytes`. Faults that may pass are retried,
    /// with jittered backoff, until `timeout` is over.
    ///
    /// # Errors
    /// What failed, where, and what to do.
    pub(crate) async fn post(&self, path: &str, body: &Value, timeout: Duration, max_bytes: usize) -> Result<Vec<u8>> {
        let start = Instant::now();
        let mut failures: u32 = 0;
        loop {
            let failed = match self.once(path, body, timeout, max_bytes).await? {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            failures += 1;
            let pause = self.backoff.on_failure(&RetryState::new(true).set_attempt_count(failures));
            let may_pass = matches!(failed.code, None | Some(Code::Unavailable));
            if !may_pass || start.elapsed() + pause > timeout {
                bail!("{}/v1/{path}: {}\n  help: {}", self.base, failed.text, help(failed.code));
            }
            sleep(pause).await;
        }
    }

    async fn once(
        &self,
        path: &str,
        body: &Value,
        timeout: Duration,
        max_bytes: usize,
    ) -> Result<Result<Vec<u8>, FailedRequest>> {
        let token = self.credentials.headers(http::Extensions::new()).await.context("getting an access token")?;
        let CacheableResource::New { data: headers, .. } = token else {
            bail!("getting an access token: there is none");
        };
        let request = self.client.post(format!("{}/v1/{path}", self.base)).headers(headers).json(body);
        let broken = |error: reqwest::Error| Ok(Err(FailedRequest { code: None, text: causes(&error) }));
        let mut answer = match request.timeout(timeout).send().await {
            Ok(answer) => answer,
            Err(error) => return broken(error),
        };
        let status = answer.status();
        let mut text = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(part)) if text.len() + part.len() <= max_bytes => text.extend_from_slice(&part),
                Ok(Some(_)) => bail!("the answer of {}/v1/{path} has more than {max_bytes} bytes", self.base),
                Ok(None) => break,
                Err(error) => return broken(error),
            }
        }
        if status.is_success() {
            return Ok(Ok(text));
        }
        let code = match status.as_u16() {
            404 => Code::NotFound,
            401 => Code::Unauthenticated,
            403 => Code::PermissionDenied,
            429 | 500.. => Code::Unavailable,
            _ => Code::InvalidArgument,
        };
        let said: Value = serde_json::from_slice(&text).unwrap_or_default();
        let said = said["error"]["message"].as_str().unwrap_or_default();
        Ok(Err(FailedRequest { code: Some(code), text: format!("{status} {said}") }))
    }
}
