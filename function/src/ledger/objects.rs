//! The ledger's objects in Cloud Storage, by its JSON API: <https://cloud.google.com/storage/docs/json_api/v1/objects>.
//!
//! The official client reads neither an object's time nor the server's, and deletes over gRPC alone, which no stand-in for Cloud
//! Storage speaks. So these few calls are made here. A call that fails for a passing reason is made again until its time is over;
//! preconditions make that harmless.

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

use super::protocol::{Fault, Found, Store};
use crate::cloud::{Clients, read_answer, use_ring};
use infra::error_chain;

/// Calls in flight; more wait.
const CALLS: usize = 64;
/// The longest answer in bytes that is read: an object's metadata, of which three fields are asked for.
const MAX_ANSWER: usize = 64 << 10;
/// Between two attempts of a call: the first pause, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// Separates the parts of an upload. No part holds a line that begins with it: both are JSON in one line.
const BOUNDARY: &str = "ledger-entry";

/// The bucket with the ledger.
#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    clients: Arc<Clients>,
    reached: OnceCell<Reached>,
    room: Semaphore,
}

#[derive(Debug)]
struct Reached {
    base: String,
    credentials: Credentials,
    http: Client,
}

/// Calls that have to end by a moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calls<'a> {
    bucket: &'a Bucket,
    until: Instant,
}

#[derive(Deserialize)]
struct Metadata {
    generation: String,
    updated: Option<String>,
    #[serde(default)]
    metadata: Custom,
}

#[derive(Default, Deserialize)]
struct Custom {
    #[serde(default)]
    claim: String,
}

impl Bucket {
    /// Nothing connects yet.
    pub(super) fn new(name: &str, clients: &Arc<Clients>) -> Self {
        Self {
            name: name.to_owned(),
            clients: Arc::clone(clients),
            reached: OnceCell::new(),
            room: Semaphore::new(CALLS),
        }
    }

    pub(super) fn within(&self, time: Duration) -> Calls<'_> {
        Calls { bucket: self, until: Instant::now() + time }
    }

    async fn reached(&self) -> Result<&Reached, Fault> {
        let reach = || async {
            use_ring();
            let (base, credentials) = self.clients.storage_api().map_err(|error| Fault(error.to_string()))?;
            let mut http = Client::builder().pool_max_idle_per_host(CALLS);
            if base.starts_with("http://") {
                http = http.no_proxy(); // a stand-in on this machine
            }
            let http = http.build().map_err(|error| Fault(error_chain(&error)))?;
            Ok(Reached { base, credentials, http })
        };
        self.reached.get_or_try_init(reach).await
    }
}

struct Answer {
    status: u16,
    date: Option<Timestamp>,
    body: Bytes,
}

impl Calls<'_> {
    /// The answer, once it is neither a passing fault nor a refusal.
    async fn call(&self, what: &str, request: impl Fn(&Reached, HeaderMap) -> RequestBuilder) -> Result<Answer, Fault> {
        let fault = |why: String| Fault(format!("{what} in bucket `{}`: {why}", self.bucket.name));
        let mut last = "no answer in time".to_owned();
        let mut pause = PAUSES[0];
        let tries = async {
            loop {
                match self.attempt(&request).await {
                    Ok(answer) => match answer.status {
                        200..300 | 404 | 412 => break Ok(answer),
                        401 | 403 => {
                            break Err(fault(format!(
                                "not allowed ({}); grant this process's account roles/storage.objectUser there",
                                said(&answer)
                            )));
                        }
                        408 | 429 | 500.. => last = said(&answer),
                        _ => break Err(fault(said(&answer))),
                    },
                    Err(why) => last = why,
                }
                if Instant::now() + pause >= self.until {
                    break Err(fault(last.clone()));
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES[1]);
            }
        };
        match timeout_at(self.until, tries).await {
            Ok(answer) => answer,
            Err(_) => Err(fault("no answer in time".to_owned())),
        }
    }

    async fn attempt(&self, request: impl Fn(&Reached, HeaderMap) -> RequestBuilder) -> Result<Answer, String> {
        let _room = self.bucket.room.acquire().await.map_err(|_| "shutting down".to_owned())?;
        let reached = self.bucket.reached().await.map_err(|fault| fault.0)?;
        let headers = match reached.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => data,
            Ok(CacheableResource::NotModified) => HeaderMap::new(),
            Err(error) => return Err(format!("no credentials: {}", error_chain(&error))),
        };
        let answer = request(reached, headers).send().await.map_err(|error| error_chain(&error))?;
        let status = answer.status().as_u16();
        let date = answer.headers().get(header::DATE).and_then(|date| moment(date.to_str().ok()?));
        Ok(Answer { status, date, body: read_answer(answer, MAX_ANSWER).await? })
    }

    fn path(&self, object: &str) -> String {
        let object = utf8_percent_encode(object, NON_ALPHANUMERIC);
        format!("/storage/v1/b/{}/o/{object}", self.bucket.name)
    }
}

impl Store for Calls<'_> {
    async fn write(&self, name: &str, over: i64, claim: &str, body: Bytes) -> Result<Option<i64>, Fault> {
        let about = json!({"name": name, "contentType": "application/json", "metadata": {"claim": claim}});
        let mut upload = BytesMut::new();
        for part in [about.to_string().as_bytes(), &body] {
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
        let request = |reached: &Reached, headers| {
            let kind = format!("multipart/related; boundary={BOUNDARY}");
            let request = reached.http.post(format!("{}{path}", reached.base)).headers(headers);
            request.header(header::CONTENT_TYPE, kind).body(upload.clone())
        };
        let answer = self.call(&what, request).await?;
        match answer.status {
            412 => Ok(None),
            404 if over == 0 => Err(Fault(format!(
                "{what}: there is no bucket `{}`; create it, or set LEDGER to another or to `off`",
                self.bucket.name
            ))),
            404 => Ok(None), // what was to be written over is gone
            _ => {
                let written: Metadata = parsed(&what, &answer)?;
                Ok(Some(number(&what, &written.generation)?))
            }
        }
    }

    async fn read(&self, name: &str) -> Result<Option<Found>, Fault> {
        let path = format!("{}?fields=generation,updated,metadata", self.path(name));
        let what = format!("reading `{name}`");
        let answer = self
            .call(&what, |reached, headers| reached.http.get(format!("{}{path}", reached.base)).headers(headers))
            .await?;
        match answer.status {
            404 => Ok(None),
            412 => Err(Fault(format!("{what}: {}", said(&answer)))),
            _ => {
                let found: Metadata = parsed(&what, &answer)?;
                let generation = number(&what, &found.generation)?;
                // The date has no fractions of a second, so an object looks younger than it is, by less than one.
                let updated = found.updated.and_then(|updated| updated.parse::<Timestamp>().ok());
                let age = match (answer.date, updated) {
                    (Some(now), Some(updated)) => Duration::try_from(now.duration_since(updated)).unwrap_or_default(),
                    _ => Duration::ZERO,
                };
                Ok(Some(Found { generation, claim: found.metadata.claim, age }))
            }
        }
    }

    async fn delete(&self, name: &str, generation: i64) -> Result<(), Fault> {
        let path = format!("{}?ifGenerationMatch={generation}", self.path(name));
        let what = format!("deleting `{name}`");
        let request = |reached: &Reached, headers| {
            reached.http.request(Method::DELETE, format!("{}{path}", reached.base)).headers(headers)
        };
        self.call(&what, request).await.map(drop)
    }
}

/// What an answer says of itself, for the log.
fn said(answer: &Answer) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        message: String,
    }
    let message = serde_json::from_slice::<Body>(&answer.body).map(|body| body.error.message);
    match message {
        Ok(message) => format!("{}: {message}", answer.status),
        Err(_) => answer.status.to_string(),
    }
}

fn parsed(what: &str, answer: &Answer) -> Result<Metadata, Fault> {
    serde_json::from_slice(&answer.body).map_err(|error| Fault(format!("{what}: the answer cannot be read: {error}")))
}

fn number(what: &str, generation: &str) -> Result<i64, Fault> {
    generation.parse().map_err(|_| Fault(format!("{what}: the generation `{generation}` is no number")))
}

/// An HTTP date: <https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats>.
fn moment(date: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_server_s_clock_is_read() {
        let date = moment("Tue, 24 Nov 2026 19:20:40 GMT").unwrap();
        assert_eq!(date.to_string(), "2026-11-24T19:20:40Z");
        assert_eq!(moment("yesterday"), None);
    }
}
