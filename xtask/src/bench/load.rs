//! The load generator: one thread, HTTP/1.1, a connection for each request in flight.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::histogram::Histogram;
use super::workload::BenchRequest;

/// A request that takes longer is an error.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a response.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Which requests are sent, how many, and where to.
#[derive(Debug)]
pub(super) struct Load<'a> {
    pub(super) url: &'a str,
    pub(super) headers: &'a [(String, String)],
    /// Sent one after the other, over and over.
    pub(super) messages: &'a [BenchRequest],
    /// Requests in flight at once, at most.
    pub(super) connections: usize,
    /// Requests a second, in an open loop; `None` is a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) duration: Duration,
}

/// How the requests were answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    /// Time from the first request to the last answer.
    pub(super) seconds: f64,
    /// Latencies of those answered with 2xx and no problem.
    pub(super) done: Histogram,
    /// Latencies of those answered with 429.
    pub(super) refused: Histogram,
    /// Events in the requests that are done.
    pub(super) events: u64,
    /// Numbers of requests, by status and outcome or by the fault.
    pub(super) outcomes: BTreeMap<String, u64>,
    /// Sizes of all responses, added up.
    bytes: u64,
}

impl Answers {
    /// Events done per second.
    pub(super) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds.max(1e-9)
    }

    pub(super) fn json(&self) -> Value {
        json!({"seconds": self.seconds, "events": self.events, "events_per_second": self.rate(), "requests": self.outcomes,
            "latency_ms": self.done.json(), "refused_latency_ms": self.refused.json(), "answer_bytes": self.bytes})
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.done.add(&other.done);
        self.refused.add(&other.refused);
        self.events += other.events;
        self.bytes += other.bytes;
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
    }
}

/// Sends all requests and waits for the responses.
///
/// # Errors
/// The URL cannot be used. A server that cannot be reached is an outcome like others.
pub(super) fn run(load: &Load<'_>) -> Result<Answers> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(send_all(load))
}

/// When requests are due.
struct Schedule {
    start: Instant,
    end: Instant,
    /// Seconds between requests, in an open loop; `due` has a permit for every request that is due.
    every: Option<f64>,
    due: Semaphore,
    taken: AtomicU64,
}

impl Schedule {
    /// When the next request is due, and its number; `None` after the end.
    async fn next(&self) -> Option<(Instant, u64)> {
        let due = match self.every {
            None => Instant::now(),
            Some(every) => {
                self.due.acquire().await.ok()?.forget();
                self.start + Duration::from_secs_f64(every * self.taken.load(Ordering::Relaxed) as f64)
            }
        };
        (due < self.end).then(|| (due, self.taken.fetch_add(1, Ordering::Relaxed)))
    }

    /// Releases each request when it is due; at the end, one more for every client that still waits. On a thread of its
    /// own, since the runtime's timers are too coarse.
    fn release(&self, every: f64, waiting: usize) {
        let total = ((self.end - self.start).as_secs_f64() / every).ceil() as u64;
        let mut released = 0;
        while released < total {
            let due = (self.start.elapsed().as_secs_f64() / every) as u64 + 1;
            let due = due.min(total);
            if due > released {
                self.due.add_permits((due - released) as usize);
                released = due;
            }
            let next = self.start + Duration::from_secs_f64(every * released as f64);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        self.due.add_permits(waiting);
    }
}

async fn send_all(load: &Load<'_>) -> Result<Answers> {
    let target = Arc::new(Target::new(load)?);
    let start = Instant::now();
    let schedule = Arc::new(Schedule {
        start,
        end: start + load.duration,
        every: load.rate.map(|rate| 1.0 / rate),
        due: Semaphore::new(0),
        taken: AtomicU64::new(0),
    });
    if let Some(every) = schedule.every {
        let (schedule, waiting) = (Arc::clone(&schedule), load.connections);
        std::thread::Builder::new()
            .name("schedule".to_owned())
            .spawn(move || schedule.release(every, waiting))
            .context("starting the schedule's thread")?;
    }
    let clients: Vec<_> =
        (0..load.connections).map(|_| tokio::spawn(client(Arc::clone(&target), Arc::clone(&schedule)))).collect();
    let mut all = Answers::default();
    for client in clients {
        all.add(&client.await.context("a client of the load generator")?);
    }
    all.seconds = start.elapsed().as_secs_f64();
    Ok(all)
}

/// One client: sends one request at a time until the end.
async fn client(target: Arc<Target>, schedule: Arc<Schedule>) -> Answers {
    let mut answers = Answers::default();
    let mut connection = None;
    while let Some((due, n)) = schedule.next().await {
        let message = &target.messages[(n % target.messages.len() as u64) as usize];
        let sent = tokio::time::timeout(REQUEST_TIMEOUT, target.send(&mut connection, message)).await;
        let outcome = match sent {
            Ok(Ok((status, outcome, bytes))) => {
                answers.bytes += bytes as u64;
                if outcome == "done" {
                    answers.done.record(due.elapsed());
                    answers.events += message.events as u64;
                } else if status == StatusCode::TOO_MANY_REQUESTS {
                    answers.refused.record(due.elapsed());
                }
                format!("{} {outcome}", status.as_u16())
            }
            Ok(Err(what)) => {
                connection = None;
                // A server that is gone refuses connections at once: do not try ten thousand times a second.
                tokio::time::sleep(Duration::from_millis(10)).await;
                what.to_owned()
            }
            Err(_) => {
                connection = None;
                format!("no answer in {} s", REQUEST_TIMEOUT.as_secs())
            }
        };
        *answers.outcomes.entry(outcome).or_default() += 1;
    }
    answers
}

struct Target {
    uri: Uri,
    address: String,
    /// With the headers of their requests.
    messages: Vec<BenchRequest>,
    /// The client for https.
    secure: Option<reqwest::Client>,
}

impl Target {
    fn new(load: &Load<'_>) -> Result<Self> {
        let uri: Uri = load.url.parse().with_context(|| format!("{} is no address of a function", load.url))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        ensure!(
            matches!(scheme, "http" | "https"),
            "{} is no address of a function: it starts with http:// or https://",
            load.url
        );
        let authority = uri.authority().with_context(|| format!("{} names no host", load.url))?;
        let mut headers = HeaderMap::new();
        for (name, value) in load.headers {
            let field = HeaderName::from_bytes(name.as_bytes()).with_context(|| format!("{name:?} is no header"))?;
            headers.append(field, HeaderValue::from_str(value).with_context(|| format!("the value of {name}"))?);
        }
        let host = authority.host();
        let address = format!("{host}:{}", authority.port_u16().unwrap_or(80));
        let secure = if scheme == "https" {
            function::clients::use_ring();
            Some(reqwest::Client::builder().http1_only().build().context("making an HTTPS client")?)
        } else {
            headers.insert(header::HOST, HeaderValue::from_str(authority.as_str())?);
            None
        };
        let messages = load.messages.iter().map(|message| {
            let mut message = message.clone();
            message.headers.extend(headers.clone());
            message
        });
        Ok(Self { uri, address, messages: messages.collect(), secure })
    }

    /// Sends one request; returns the status, the outcome and the size of the response, or the fault.
    async fn send(
        &self,
        connection: &mut Option<SendRequest<Full<Bytes>>>,
        message: &BenchRequest,
    ) -> Result<(StatusCode, String, usize), &'static str> {
        let (status, headers, body) = match &self.secure {
            // Boxed: this future is large, and the plain path should not pay for it.
            Some(client) => Box::pin(self.send_secure(client, message)).await?,
            None => self.send_plain(connection, message).await?,
        };
        let problem = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
        let outcome = if problem {
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            problem["outcome"].as_str().unwrap_or("problem").to_owned()
        } else if status.is_success() {
            "done".to_owned()
        } else {
            String::from(status.canonical_reason().unwrap_or("unknown"))
        };
        Ok((status, outcome, body.len()))
    }

    async fn send_plain(
        &self,
        connection: &mut Option<SendRequest<Full<Bytes>>>,
        message: &BenchRequest,
    ) -> Result<(StatusCode, HeaderMap, Bytes), &'static str> {
        let mut sender = match connection.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await.map_err(|_| "no connection")?,
        };
        sender.ready().await.map_err(|_| "connection lost")?;
        let mut request = hyper::Request::new(Full::new(message.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.path_and_query().map_or_else(Uri::default, |path| path.clone().into());
        *request.headers_mut() = message.headers.clone();
        let answer = sender.send_request(request).await.map_err(|_| "connection lost")?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_RESPONSE_BYTES).collect().await.map_err(|_| "answer cut off")?;
        *connection = Some(sender);
        Ok((head.status, head.headers, body.to_bytes()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send_secure(
        &self,
        client: &reqwest::Client,
        message: &BenchRequest,
    ) -> Result<(StatusCode, HeaderMap, Bytes), &'static str> {
        let request = client.post(self.uri.to_string()).headers(message.headers.clone()).body(message.body.clone());
        let answer = request
            .send()
            .await
            .map_err(|error| if error.is_connect() { "no connection" } else { "connection lost" })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok((status, headers, answer.bytes().await.map_err(|_| "answer cut off")?))
    }
}

#[cfg(test)]
mod tests;
