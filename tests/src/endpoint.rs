//! What a push subscription pushes to.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Push {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Push {
    /// One header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }
}

/// An HTTP server on the runtime of a test; ends when dropped.
#[derive(Debug)]
pub struct Endpoint {
    url: String,
    pushes: mpsc::UnboundedReceiver<Push>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Starts one that answers each request with this status.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start(answer: impl FnMut(&Push) -> u16 + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("no port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let (sender, pushes) = mpsc::unbounded_channel();
        let answer = Arc::new(Mutex::new(answer));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (sender, answer) = (sender.clone(), Arc::clone(&answer));
                let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                    let (sender, answer) = (sender.clone(), Arc::clone(&answer));
                    async move {
                        let (parts, body) = request.into_parts();
                        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                        let push = Push { headers: parts.headers, body };
                        let status = (answer.lock().unwrap_or_else(PoisonError::into_inner))(&push);
                        // An error says that the test has seen enough.
                        let _ = sender.send(push);
                        let mut response = Response::new(Full::new(Bytes::new()));
                        *response.status_mut() = status.try_into().unwrap_or_default();
                        Ok::<_, Infallible>(response)
                    }
                });
                tokio::spawn(async move {
                    let connection = Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { url: format!("http://{address}/push"), pushes, task }
    }

    /// `http://HOST:PORT/push`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next request.
    ///
    /// # Panics
    /// When none comes in 20 s.
    pub async fn next(&mut self) -> Push {
        let next = tokio::time::timeout(Duration::from_secs(20), self.pushes.recv()).await;
        next.ok().flatten().unwrap_or_else(|| panic!("nothing was pushed to {}", self.url))
    }

    /// A request that has come and was not looked at yet.
    pub fn try_next(&mut self) -> Option<Push> {
        self.pushes.try_recv().ok()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}
