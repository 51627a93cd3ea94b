//! A client for methods that the official clients lack: buckets, which they have over gRPC alone, service agents, and
//! unary pulls.

use std::time::Duration;

use google_cloud_auth::credentials::{CacheableResource, Credentials};
use google_cloud_auth::errors::CredentialsError;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::settings::Settings;
use crate::resources::Api;
use infra::error_chain;

/// How many bytes of a response without a message an error shows.
const MAX_SHOWN_BYTES: usize = 300;

/// A client for the REST API of one service: its endpoint, and the credentials for it. Requests are sent once.
#[derive(Debug)]
pub struct RestClient {
    base: String,
    credentials: Credentials,
    http: Client,
}

/// What a request may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestLimits {
    /// The time until the whole response is there.
    pub timeout: Option<Duration>,
    /// The length of the response, in bytes.
    pub max_bytes: Option<usize>,
}

/// A response, of whatever status.
#[derive(Debug)]
pub struct RestResponse {
    /// The status of HTTP.
    pub status: StatusCode,
    /// What was sent, JSON if it is from Google.
    pub body: Vec<u8>,
}

/// A request without a response.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// There is no access token.
    #[error("getting an access token: {0}")]
    Credentials(#[source] CredentialsError),
    /// The connection failed, or the response did not come in time.
    #[error("{}", error_chain(.0))]
    Connection(#[source] reqwest::Error),
    /// The response is longer than the caller takes.
    #[error("the response has more than {0} bytes")]
    TooLong(usize),
}

impl RestClient {
    /// A client for an API at the endpoint that the settings say.
    ///
    /// # Errors
    /// There are no credentials.
    pub fn new(settings: &Settings, api: Api) -> Result<Self, CloudError> {
        let wrong = |cause: &dyn std::fmt::Display| {
            CloudError::new(Fault::Wrong, format!("cannot make a client for {}: {cause}", api.service()))
        };
        let endpoint = settings.endpoint(api);
        let mut http = Client::builder();
        if endpoint.is_local() {
            http = http.no_proxy();
        }
        Ok(Self {
            base: endpoint.url.unwrap_or_else(|| format!("https://{}", api.service())),
            credentials: settings.credentials(api).map_err(|error| wrong(&error))?,
            http: http.build().map_err(|error| wrong(&error))?,
        })
    }

    /// Where the API is: a URL without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a request to this path and returns the response.
    ///
    /// # Errors
    /// There is no response within these limits.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limits: RequestLimits,
    ) -> Result<RestResponse, RestError> {
        let headers = match self.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => data,
            // Never the case without the tag of an earlier answer.
            Ok(CacheableResource::NotModified) => http::HeaderMap::new(),
            Err(error) => return Err(RestError::Credentials(error)),
        };
        let posts = method == Method::POST;
        let mut request = self.http.request(method, format!("{}{path}", self.base)).headers(headers);
        request = match body {
            Some(body) => request.json(body),
            // Google's front end requires the length of every POST: 411 without.
            None if posts => request.header(http::header::CONTENT_LENGTH, 0),
            None => request,
        };
        if let Some(timeout) = limits.timeout {
            request = request.timeout(timeout);
        }
        let mut response = request.send().await.map_err(RestError::Connection)?;
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(part) = response.chunk().await.map_err(RestError::Connection)? {
            body.extend_from_slice(&part);
            if let Some(max) = limits.max_bytes.filter(|max| body.len() > *max) {
                return Err(RestError::TooLong(max));
            }
        }
        Ok(RestResponse { status, body })
    }

    /// Sends a request; returns the JSON of the response, null if it has none.
    pub(super) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CloudError> {
        let response = self.request(method, path, body, RequestLimits::default()).await?;
        if response.status.is_success() {
            return Ok(response.json());
        }
        let status = response.status;
        let message = response.message().unwrap_or_else(|| {
            let shown = &response.body[..response.body.len().min(MAX_SHOWN_BYTES)];
            format!("{status}: {}", String::from_utf8_lossy(shown))
        });
        Err(CloudError::http(status.as_u16(), message))
    }
}

impl RestResponse {
    /// The body as JSON, null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Google's message of what is wrong.
    pub fn message(&self) -> Option<String> {
        self.json()["error"]["message"].as_str().map(str::to_owned)
    }
}

impl From<RestError> for CloudError {
    fn from(error: RestError) -> Self {
        match error {
            RestError::Credentials(error) => Self::new(Fault::Denied, error.to_string()),
            RestError::Connection(_) => Self::new(Fault::Passing, error.to_string()),
            RestError::TooLong(_) => Self::new(Fault::Wrong, error.to_string()),
        }
    }
}
