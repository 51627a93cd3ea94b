//! The HTTP client of all pushes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use infra::error_chain;
use tokio::sync::Notify;

use super::token::Tokens;

/// How much of a response's body is read so that its connection can be used again.
const MAX_DISCARDED_BYTES: usize = 64 << 10;
/// Idle connections to one endpoint.
const MAX_IDLE_CONNECTIONS: usize = 256;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an endpoint may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all pushes share: connections, tokens, and the count of pushing tasks.
pub(crate) struct PushClient {
    http: Client<HttpConnector, Full<Bytes>>,
    pub(super) tokens: Tokens,
    tasks: AtomicUsize,
    task_ended: Notify,
}

impl fmt::Debug for PushClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushClient").finish_non_exhaustive()
    }
}

impl PushClient {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .build(connector);
        Self { http, tokens: Tokens::default(), tasks: AtomicUsize::new(0), task_ended: Notify::new() }
    }

    pub(super) fn task_begins(&self) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn task_ends(&self) {
        self.tasks.fetch_sub(1, Ordering::AcqRel);
        self.task_ended.notify_waiters();
    }

    /// Ready when no pushing task is left. They end after shutdown has begun.
    pub(crate) async fn drained(&self) {
        loop {
            let ended = self.task_ended.notified();
            if self.tasks.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Sends a request and returns the status of the response; or why there is none. The informational status 102
    /// counts as a response, as it does for Pub/Sub, although in HTTP another one follows.
    pub(super) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<StatusCode, String> {
        let processing = Arc::new(Notify::new());
        let seen = Arc::clone(&processing);
        hyper::ext::on_informational(&mut request, move |response| {
            if response.status() == StatusCode::PROCESSING {
                seen.notify_one();
            }
        });
        let final_status = async {
            let response = self.http.request(request).await.map_err(|error| error_chain(&error))?;
            let status = response.status();
            discard(response).await;
            Ok(status)
        };
        tokio::select! {
            biased;
            () = processing.notified() => Ok(StatusCode::PROCESSING),
            status = final_status => status,
        }
    }
}

/// Reads the body of a response, if it is short, so that its connection serves the next message.
async fn discard(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut read = 0;
    while !body.is_end_stream() && read < MAX_DISCARDED_BYTES {
        match body.frame().await {
            Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
