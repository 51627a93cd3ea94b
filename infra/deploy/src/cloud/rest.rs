//! Calls that the official clients lack, over REST: buckets, which the client has over gRPC alone, and service agents.

use google_cloud_auth::credentials::{CacheableResource, Credentials};
use reqwest::{Client, Method};
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::settings::Settings;
use crate::resources::Api;
use infra::causes;

/// A client for one API: its endpoint, and the credentials for it.
#[derive(Debug)]
pub(super) struct Rest {
    base: String,
    credentials: Credentials,
    http: Client,
}

impl Rest {
    pub(super) fn new(settings: &Settings, api: Api) -> Result<Self, CloudError> {
        let wrong = |cause: &dyn std::fmt::Display| {
            CloudError::new(Fault::Wrong, format!("cannot make a client for {}: {cause}", api.service()))
        };
        Ok(Self {
            base: settings.endpoint(api).url.unwrap_or_else(|| format!("https://{}", api.service())),
            credentials: settings.credentials(api).map_err(|error| wrong(&error))?,
            http: Client::builder().build().map_err(|error| wrong(&error))?,
        })
    }

    /// Where the API is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a request; returns the JSON of the answer, null if it has none.
    pub(super) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CloudError> {
        let headers = match self.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => data,
            Ok(CacheableResource::NotModified) => http::HeaderMap::new(),
            Err(error) => return Err(CloudError::new(Fault::Denied, error.to_string())),
        };
        let posts = method == Method::POST;
        let mut request = self.http.request(method, format!("{}{path}", self.base)).headers(headers);
        request = match body {
            Some(body) => request.json(body),
            // Google's front end wants the length of every POST: 411 without.
            None if posts => request.header(http::header::CONTENT_LENGTH, 0),
            None => request,
        };
        let passing = |error: reqwest::Error| CloudError::new(Fault::Passing, causes(&error));
        let answer = request.send().await.map_err(passing)?;
        let status = answer.status();
        let text = answer.bytes().await.map_err(passing)?;
        let parsed: Value = serde_json::from_slice(&text).unwrap_or_default();
        if status.is_success() {
            return Ok(parsed);
        }
        let message = match parsed["error"]["message"].as_str() {
            Some(message) => message.to_owned(),
            None => format!("{status}: {}", String::from_utf8_lossy(&text[..text.len().min(300)])),
        };
        Err(CloudError::http(status.as_u16(), message))
    }
}
