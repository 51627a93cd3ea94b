//! The ledger's objects in Cloud Storage, by its JSON API: <https://cloud.google.com/storage/docs/json_api/v1/objects>.
//!
//! The official client returns neither an object's time nor the server's, and deletes over gRPC alone, which no
//! emulator of Cloud Storage speaks. So these few calls are made here. A call that fails for a passing reason is
//! retried until its deadline; preconditions make that harmless.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use http::{HeaderMap, Method, header};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use super::protocol::{Found, Store, StoreError};
use crate::clients::{Clients, read_answer, use_ring};
use infra::error_chain;

/// Calls in flight; further ones wait for a permit.
const MAX_CALLS_IN_FLIGHT: usize = 64;
/// The longest response that is read: an object's metadata, of which three fields are asked for.
const MAX_RESPONSE_BYTES: usize = 64 << 10;
/// The backoff before the first retry of a call. It doubles with every retry, up to [`MAX_BACKOFF`].
const MIN_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Separates the parts of an upload. No part contains a line that begins with it: both are JSON on one line.
const BOUNDARY: &str = "ledger-entry";

/// The bucket that holds the ledger.
#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    clients: Arc<Clients>,
    /// Made by the first call, so that a start needs no network.
    connection: OnceCell<Connection>,
    permits: Semaphore,
}

#[derive(Debug)]
struct Connection {
    base: String,
    credentials: Credentials,
    http: Client,
}

/// Calls that have to end by a deadline, retries included.
#[derive(Clone, Copy, Debug)]
pub(super) struct BoundedCalls<'a> {
    bucket: &'a Bucket,
    deadline: Instant,
}

#[derive(Deserialize)]
struct Metadata {
    generation: String,
    updated: Option<String>,
    #[serde(default)]
    metadata: CustomMetadata,
}

#[derive(Default, Deserialize)]
struct CustomMetadata {
    #[serde(default)]
    claim: String,
}

impl Bucket {
    /// Nothing connects yet.
    pub(super) fn new(name: &str, clients: &Arc<Clients>) -> Self {
        Self {
            name: name.to_owned(),
            clients: Arc::clone(clients),
            connection: OnceCell::new(),
            permits: Semaphore::new(MAX_CALLS_IN_FLIGHT),
        }
    }

    /// Calls that together may take this long from now.
    pub(super) fn within(&self, time: Duration) -> BoundedCalls<'_> {
        BoundedCalls { bucket: self, deadline: Instant::now() + time }
    }

    async fn connection(&self) -> Result<&Connection, StoreError> {
        let connect = || async {
            use_ring();
            let (base, credentials) = self.clients.storage_api().map_err(|error| StoreError(error.to_string()))?;
            let mut http = Client::builder().pool_max_idle_per_host(MAX_CALLS_IN_FLIGHT);
            if base.starts_with("http://") {
                http = http.no_proxy(); // an emulator on this machine
            }
            let http = http.build().map_err(|error| StoreError(error_chain(&error)))?;
            Ok(Connection { base, credentials, http })
        };
        self.connection.get_or_try_init(connect).await
    }
}

struct StoreResponse {
    status: u16,
    /// The server's clock.
    date: Option<Timestamp>,
    body: Bytes,
}

impl BoundedCalls<'_> {
    /// Makes a call and retries it after passing faults. The response has a status of success, 404 or 412.
    async fn call(
        &self,
        what: &str,
        request: impl Fn(&Connection, HeaderMap) -> RequestBuilder,
    ) -> Result<StoreResponse, StoreError> {
        let error = |why: String| StoreError(format!("{what} in bucket `{}`: {why}", self.bucket.name));
        let mut last = "no answer in time".to_owned();
        let mut backoff = MIN_BACKOFF;
        let attempts = async {
            loop {
                match self.attempt(&request).await {
                    Ok(answer) => match answer.status {
                        200..300 | 404 | 412 => break Ok(answer),
                        401 | 403 => {
                            break Err(error(format!(
                                "not allowed ({}); grant this process's account roles/storage.objectUser there",
                                error_message(&answer)
                            )));
                        }
                        408 | 429 | 500.. => last = error_message(&answer),
                        _ => break Err(error(error_message(&answer))),
                    },
                    Err(why) => last = why,
                }
                if Instant::now() + backoff >= self.deadline {
                    break Err(error(last.clone()));
                }
                sleep(backoff).await;
                backoff = (backoff * 2).min(MAX_BACKOFF);
            }
        };
        match timeout_at(self.deadline, attempts).await {
            Ok(answer) => answer,
            Err(_) => Err(error("no answer in time".to_owned())),
        }
    }

    async fn attempt(
        &self,
        request: impl Fn(&Connection, HeaderMap) -> RequestBuilder,
    ) -> Result<StoreResponse, String> {
        let _permit = self.bucket.permits.acquire().await.map_err(|_| "shutting down".to_owned())?;
        let connection = self.bucket.connection().await.map_err(|error| error.0)?;
        let headers = match connection.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => data,
            Ok(CacheableResource::NotModified) => HeaderMap::new(),
            Err(error) => return Err(format!("no credentials: {}", error_chain(&error))),
        };
        let answer = request(connection, headers).send().await.map_err(|error| error_chain(&error))?;
        let status = answer.status().as_u16();
        let date = answer.headers().get(header::DATE).and_then(|date| http_date(date.to_str().ok()?));
        Ok(StoreResponse { status, date, body: read_answer(answer, MAX_RESPONSE_BYTES).await? })
    }

    fn path(&self, object: &str) -> String {
        let object = utf8_percent_encode(object, NON_ALPHANUMERIC);
        format!("/storage/v1/b/{}/o/{object}", self.bucket.name)
    }
}

impl Store for BoundedCalls<'_> {
    async fn write(&self, name: &str, over: i64, claim: &str, body: Bytes) -> Result<Option<i64>, StoreError> {
        let metadata = json!({"name": name, "contentType": "application/json", "metadata": {"claim": claim}});
        let mut upload = BytesMut::new();
        for part in [metadata.to_string().as_bytes(), &body] {
            upload.extend_from_slice(format!("--{BOUNDARY}\r\ncontent-type: application/json\r\n\r\n").as_bytes());
            upload.extend_from_slice(part);
            upload.extend_from_slice(b"\r\n");
        }
        upload.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        let upload = upload.freeze();
        let path = format!(
            "/upload/storage/v1/b/{}/o?uploadType=multipart&ifGenerationMatch={over}&fields=generation",
            self.bucket.name
        );
        let what = format!("writing `{name}`");
        let request = |connection: &Connection, headers| {
            let kind = format!("multipart/related; boundary={BOUNDARY}");
            let request = connection.http.post(format!("{}{path}", connection.base)).headers(headers);
            request.header(header::CONTENT_TYPE, kind).body(upload.clone())
        };
        let answer = self.call(&what, request).await?;
        match answer.status {
            412 => Ok(None),
            404 if over == 0 => Err(StoreError(format!(
                "{what}: there is no bucket `{}`; create it, or set LEDGER to another or to `off`",
                self.bucket.name
            ))),
            404 => Ok(None), // the object to be written over is gone
            _ => {
                let written: Metadata = parse_metadata(&what, &answer)?;
                Ok(Some(parse_generation(&what, &written.generation)?))
            }
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Found>, StoreError> {
        let path = format!("{}?fields=generation,updated,metadata", self.path(name));
        let what = format!("reading `{name}`");
        let answer = self
            .call(&what, |connection, headers| {
                connection.http.get(format!("{}{path}", connection.base)).headers(headers)
            })
            .await?;
        match answer.status {
            404 => Ok(None),
            412 => Err(StoreError(format!("{what}: {}", error_message(&answer)))),
            _ => {
                let found: Metadata = parse_metadata(&what, &answer)?;
                let generation = parse_generation(&what, &found.generation)?;
                // The date has no fractions of a second, so an object looks younger than it is by less than a second.
                let updated = found.updated.and_then(|updated| updated.parse::<Timestamp>().ok());
                let age = match (answer.date, updated) {
                    (Some(now), Some(updated)) => Duration::try_from(now.duration_since(updated)).unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                Ok(Some(Found { generation, claim: found.metadata.claim, age }))
            }
        }
    }

    async fn delete(&self, name: &str, generation: i64) -> Result<(), StoreError> {
        let path = format!("{}?ifGenerationMatch={generation}", self.path(name));
        let what = format!("deleting `{name}`");
        let request = |connection: &Connection, headers| {
            connection.http.request(Method::DELETE, format!("{}{path}", connection.base)).headers(headers)
        };
        self.call(&what, request).await.map(drop)
    }
}

/// The error of a response, for the log: its status, and its message if it has one.
fn error_message(answer: &StoreResponse) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: ApiError,
    }
    #[derive(Deserialize)]
    struct ApiError {
        message: String,
    }
    let message = serde_json::from_slice::<Body>(&answer.body).map(|body| body.error.message);
    match message {
        Ok(message) => format!("{}: {message}", answer.status),
        Err(_) => answer.status.to_string(),
    }
}

fn parse_metadata(what: &str, answer: &StoreResponse) -> Result<Metadata, StoreError> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| StoreError(format!("{what}: the answer cannot be read: {error}")))
}

fn parse_generation(what: &str, generation: &str) -> Result<i64, StoreError> {
    generation.parse().map_err(|_| StoreError(format!("{what}: the generation `{generation}` is no number")))
}

/// An HTTP date: <https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats>.
fn http_date(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_clock_is_read() {
        let date = http_date("Tue, 24 Nov 2026 19:20:40 GMT").unwrap();
        assert_eq!(date.to_string(), "2026-11-24T19:20:40Z");
        assert_eq!(http_date("yesterday"), None);
    }
}
