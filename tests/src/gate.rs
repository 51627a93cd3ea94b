//! fake-gcs-server behind a gate: with an outage on demand, a count of calls, and the precondition that it lacks.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use reqwest::Client;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::Storage;
use crate::http::client;

/// A proxy in front of a [`Storage`], on the runtime of a test; ends when dropped.
///
/// `ifGenerationMatch` on deletes is checked here, one delete at a time: fake-gcs-server 1.54 deletes whatever
/// generation there is. On multipart uploads it holds, also where they race.
#[derive(Debug)]
pub struct Gate {
    host: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    storage: String,
    client: Client,
    /// The status of every answer; 0 while it is open.
    closed: AtomicU16,
    calls: Mutex<Vec<(Method, String)>>,
    deletes: tokio::sync::Mutex<()>,
}

impl Gate {
    /// Opens one.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn open(storage: &Storage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|error| panic!("no port: {error}"));
        let address = listener.local_addr().unwrap_or_else(|error| panic!("no address: {error}"));
        let shared = Arc::new(Shared {
            storage: storage.host().to_owned(),
            client: client(),
            closed: AtomicU16::new(0),
            calls: Mutex::default(),
            deletes: tokio::sync::Mutex::default(),
        });
        let server = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&server);
                let service = service_fn(move |request| {
                    let shared = Arc::clone(&shared);
                    async move { Ok::<_, Infallible>(shared.answer(request).await) }
                });
                tokio::spawn(async move {
                    let connection = Builder::new(TokioExecutor::new());
                    let _ = connection.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { host: address.to_string(), shared, task }
    }

    /// `HOST:PORT`, as `STORAGE_EMULATOR_HOST` takes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// From now on answers everything with this status; 0 lets everything through.
    pub fn answer_with(&self, status: u16) {
        self.shared.closed.store(status, Ordering::SeqCst);
    }

    /// Method and path of the calls since the last look.
    pub fn take_calls(&self) -> Vec<(Method, String)> {
        std::mem::take(&mut *self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    async fn answer(&self, request: http::Request<hyper::body::Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push((parts.method.clone(), path.clone()));
        let closed = self.closed.load(Ordering::SeqCst);
        if closed != 0 {
            return response(closed, None, Bytes::new());
        }
        let _one = if parts.method == Method::DELETE { Some(self.deletes.lock().await) } else { None };
        if parts.method == Method::DELETE
            && let Some((object, wanted)) = path.split_once("?ifGenerationMatch=")
        {
            let (status, _, found) = self.forward(Method::GET, object, None, Bytes::new()).await;
            let found: Value = serde_json::from_slice(&found).unwrap_or_default();
            if status == 200 && found["generation"] != wanted {
                return response(412, None, Bytes::new());
            }
        }
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| Some(kind.to_str().ok()?.to_owned()));
        let (status, kind, body) = self.forward(parts.method, &path, kind, body).await;
        response(status, kind, body)
    }

    async fn forward(
        &self,
        method: Method,
        path: &str,
        kind: Option<String>,
        body: Bytes,
    ) -> (u16, Option<String>, Bytes) {
        let mut request = self.client.request(method, format!("http://{}{path}", self.storage)).body(body);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        match request.send().await {
            Ok(answer) => {
                let status = answer.status().as_u16();
                let kind = answer.headers().get(header::CONTENT_TYPE);
                let kind = kind.and_then(|kind| Some(kind.to_str().ok()?.to_owned()));
                (status, kind, answer.bytes().await.unwrap_or_default())
            }
            Err(error) => (502, None, error.to_string().into()),
        }
    }
}

/// With the date, which the server adds.
fn response(status: u16, kind: Option<String>, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status.try_into().unwrap_or_default();
    if let Some(kind) = kind.and_then(|kind| kind.try_into().ok()) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}
