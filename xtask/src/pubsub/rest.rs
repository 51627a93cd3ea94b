//! Pub/Sub's REST API, for the calls that no client has.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use deploy::cloud::{Api, Endpoint};
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_gax::error::rpc::Code;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::help;
use infra::error_chain;

/// The pause before the second try, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

pub(crate) struct Rest {
    client: reqwest::Client,
    base: String,
    credentials: Credentials,
}

/// What the connection or Pub/Sub says against a call.
struct Failed {
    code: Option<Code>,
    text: String,
}

impl Rest {
    pub(super) fn new(endpoint: Endpoint, credentials: Credentials) -> Result<Self> {
        let mut client = reqwest::Client::builder();
        if endpoint.is_local() {
            client = client.no_proxy();
        }
        let base = endpoint.url.unwrap_or_else(|| format!("https://{}", Api::PubSub.service()));
        Ok(Self { client: client.build()?, base, credentials })
    }

    /// Posts JSON to `/v1/PATH` and returns the answer, of at most `max` bytes. What fails in passing is tried again while
    /// there is patience.
    pub(crate) async fn post(&self, path: &str, body: &Value, patience: Duration, max: usize) -> Result<Vec<u8>> {
        let start = Instant::now();
        let mut pause = PAUSE[0];
        loop {
            let failed = match self.once(path, body, patience, max).await? {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let passing = matches!(failed.code, None | Some(Code::Unavailable));
            if !passing || start.elapsed() + pause > patience {
                bail!("{}/v1/{path}: {}\n  help: {}", self.base, failed.text, help(failed.code));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE[1]);
        }
    }

    async fn once(&self, path: &str, body: &Value, patience: Duration, max: usize) -> Result<Result<Vec<u8>, Failed>> {
        let token = self.credentials.headers(http::Extensions::new()).await.context("getting an access token")?;
        let CacheableResource::New { data: headers, .. } = token else {
            bail!("getting an access token: there is none");
        };
        let request = self.client.post(format!("{}/v1/{path}", self.base)).headers(headers).json(body);
        let broken = |error: reqwest::Error| Ok(Err(Failed { code: None, text: error_chain(&error) }));
        let mut answer = match request.timeout(patience).send().await {
            Ok(answer) => answer,
            Err(error) => return broken(error),
        };
        let status = answer.status();
        let mut text = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(part)) if text.len() + part.len() <= max => text.extend_from_slice(&part),
                Ok(Some(_)) => bail!("the answer of {}/v1/{path} has more than {max} bytes", self.base),
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
        Ok(Err(Failed { code: Some(code), text: format!("{status} {said}") }))
    }
}
