//! What stands between a process and a service, and makes trouble.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Ends the connection.
#[derive(Debug)]
struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// What happens to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// They go through.
    None,
    /// They are answered with this status, and do not reach the service: 403, 404, 429 or 503; in gRPC with the code
    /// for it.
    Refuse(u16),
    /// They go through after this time.
    Delay(Duration),
    /// They reach the service, and its answer is lost: it is replaced by 503 or `UNAVAILABLE`.
    LoseAnswer,
    /// Connections are cut, and no other ones accepted.
    Cut,
}

/// A proxy for HTTP/1, HTTP/2 and gRPC on a thread of its own; ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    host: String,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    target: &'static str,
    trouble: watch::Sender<Trouble>,
    struck: AtomicUsize,
    under_way: AtomicUsize,
    rest: Client<HttpConnector, Incoming>,
    grpc: Client<HttpConnector, Incoming>,
}

impl Proxy {
    /// Starts one before `upstream`, `HOST:PORT`. Trouble is for requests whose path contains `target`; a cut is for
    /// all.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start(upstream: &str, target: &'static str) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = listener.unwrap_or_else(|error| panic!("no port: {error}"));
        let client = |http2| {
            // No connection is kept: one that the other side has just closed would look like trouble.
            let mut builder = Client::builder(TokioExecutor::new());
            if http2 { builder.http2_only(true).build_http() } else { builder.pool_max_idle_per_host(0).build_http() }
        };
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            target,
            trouble: watch::Sender::new(Trouble::None),
            struck: AtomicUsize::new(0),
            under_way: AtomicUsize::new(0),
            rest: client(false),
            grpc: client(true),
        });
        let (stop, stopped) = oneshot::channel();
        let listening = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
            runtime.spawn(listen(listener, listening));
            runtime.block_on(async { drop(stopped.await) });
        });
        Self { host: address.to_string(), shared, stop: Some(stop), thread: Some(thread) }
    }

    /// `HOST:PORT`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// From now on.
    pub fn set(&self, trouble: Trouble) {
        self.shared.trouble.send_replace(trouble);
        if trouble == Trouble::Cut {
            self.shared.struck.fetch_add(self.shared.under_way.load(Ordering::SeqCst), Ordering::SeqCst);
        }
    }

    /// How many requests met with trouble; of a cut those that were under way, and connections.
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn listen(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap_or_else(|error| panic!("cannot listen: {error}"));
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let mut trouble = shared.trouble.subscribe();
            let serving = Arc::clone(&shared);
            let service = service_fn(move |request| {
                let shared = Arc::clone(&serving);
                async move {
                    shared.under_way.fetch_add(1, Ordering::SeqCst);
                    let answer = shared.serve(request).await;
                    shared.under_way.fetch_sub(1, Ordering::SeqCst);
                    answer
                }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let cut = async {
                // An error is a proxy that has ended.
                let _ = trouble.wait_for(|trouble| *trouble == Trouble::Cut).await;
            };
            tokio::select! {
                biased;
                () = cut => {
                    shared.struck.fetch_add(1, Ordering::SeqCst);
                }
                // An error is a connection that either side has ended.
                _ = builder.serve_connection(TokioIo::new(stream), service) => {}
            }
        });
    }
}

impl Shared {
    async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, Broken> {
        let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let grpc = kind.is_some_and(|kind| kind.starts_with(b"application/grpc"));
        let now = *self.trouble.borrow();
        let trouble = if request.uri().path().contains(self.target) { now } else { Trouble::None };
        if trouble != Trouble::None {
            self.struck.fetch_add(1, Ordering::SeqCst);
        }
        match trouble {
            Trouble::None | Trouble::Cut => self.forward(request, grpc).await,
            Trouble::Refuse(status) => Ok(refusal(status, grpc)),
            Trouble::Delay(time) => {
                tokio::time::sleep(time).await;
                self.forward(request, grpc).await
            }
            Trouble::LoseAnswer => {
                self.forward(request, grpc).await?.into_body().collect().await.map_err(broken)?;
                Ok(refusal(503, grpc))
            }
        }
    }

    async fn forward(&self, mut request: Request<Incoming>, grpc: bool) -> Result<Response<Body>, Broken> {
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = format!("http://{}{target}", self.upstream).parse::<Uri>().map_err(broken)?;
        let headers = request.headers_mut();
        for name in [header::HOST, header::CONNECTION, header::TRANSFER_ENCODING] {
            headers.remove(name);
        }
        let client = if grpc {
            *request.version_mut() = Version::HTTP_2;
            &self.grpc
        } else {
            *request.version_mut() = Version::HTTP_11;
            &self.rest
        };
        let mut response = client.request(request).await.map_err(broken)?;
        response.headers_mut().remove(header::CONNECTION);
        response.headers_mut().remove(header::TRANSFER_ENCODING);
        Ok(response.map(BodyExt::boxed_unsync))
    }
}

/// The answer of a service that refuses: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>, a response
/// without messages, or a status.
fn refusal(status: u16, grpc: bool) -> Response<Body> {
    let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed_unsync());
    if grpc {
        let code: u16 = match status {
            403 => 7, // PERMISSION_DENIED
            404 => 5, // NOT_FOUND
            429 => 8, // RESOURCE_EXHAUSTED
            _ => 14,  // UNAVAILABLE
        };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        response.headers_mut().insert("grpc-status", HeaderValue::from(code));
    } else {
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    }
    response
}

fn broken(error: impl std::error::Error) -> Broken {
    Broken(error.to_string())
}
