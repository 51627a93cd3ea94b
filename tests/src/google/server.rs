//! The ports, and the steps of a request: read, check, count, answer, record.

use std::convert::Infallible;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use deploy::cloud::Api;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use percent_encoding::percent_decode_str;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::call::{Answer, Call, Failure};
use super::fault::{FaultKind, Log};
use super::names;
use super::state::{Behaviour, Denied, State};
use super::storage;
use super::upstream::Upstream;
use crate::discovery::{Checked, Documents};

/// An archive with its request around it; Google takes 250 MiB.
const MAX_BODY: usize = 260 << 20;

pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;
pub(super) type Reply = Response<Body>;

/// Ends the connection.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

/// What all ports share.
#[derive(Debug)]
pub(super) struct Shared {
    documents: &'static Documents,
    pub(super) log: Mutex<Log>,
    pub(super) state: tokio::sync::Mutex<State>,
    pub(super) denied: Denied,
    upstream: Upstream,
}

impl Shared {
    pub(super) fn new(
        documents: &'static Documents,
        project: &str,
        behaviour: Behaviour,
        pubsub: &str,
        storage: &str,
    ) -> Self {
        let upstream = Upstream::new(pubsub, storage);
        let denied = Denied::default();
        let state = State::new(documents, project, behaviour, upstream.clone(), Arc::clone(&denied));
        Self { documents, denied, log: Mutex::default(), state: tokio::sync::Mutex::new(state), upstream }
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, api: Api, host: String, request: hyper::Request<Incoming>) -> Result<Reply, Broken> {
        let (parts, body) = request.into_parts();
        let mut call = Call {
            api,
            host,
            method: parts.method,
            path: parts.uri.path().to_owned(),
            raw_query: parts.uri.query().map(str::to_owned),
            query: parts.uri.query().map(pairs).unwrap_or_default(),
            headers: parts.headers,
            body: Value::Null,
            bytes: Bytes::new(),
            fault: None,
        };
        let answered = if call.grpc_method().is_some() {
            call.fault = self.log().count(&call);
            self.grpc(&call, body).await
        } else {
            let body = Limited::new(body, MAX_BODY).collect().await;
            call.bytes = body.map_err(|error| Broken(format!("{} {}: {error}", call.method, call.path)))?.to_bytes();
            self.rest(&mut call).await
        };
        let answered = answered.and_then(|reply| match call.fault {
            Some(FaultKind::DropAfter) => Err(Broken("dropped after the effect".into())),
            _ => Ok(reply),
        });
        self.log().record(&call, answered.as_ref().ok().map(|reply| reply.status().as_u16()));
        answered
    }

    async fn rest(&self, call: &mut Call) -> Result<Reply, Broken> {
        if let Err(why) = self.check(call) {
            self.log().violations.push(format!("{:?}: {} {}: {why}", call.api, call.method, call.path));
            return Ok(json_reply(call.api, &Err(Failure::invalid(why))));
        }
        call.fault = self.log().count(call);
        match call.fault {
            Some(FaultKind::DropBefore) => return Err(Broken("dropped before the effect".into())),
            Some(kind) => {
                if let Some(failure) = kind.answer() {
                    return Ok(json_reply(call.api, &Err(failure)));
                }
            }
            None => {}
        }
        // One at a time, so that a state is never seen half made.
        let mut state = self.state.lock().await;
        let admitted = state.quota_project(call).and_then(|()| state.project_in(call));
        if let Err(failure) = admitted.and_then(|()| state.enabled(call.api)) {
            return Ok(json_reply(call.api, &Err(failure)));
        }
        let numbers = state.behaviour.numbers.then(|| state.project.clone());
        let mut answer = match call.api {
            Api::Run => state.run(call).await,
            Api::Eventarc => state.eventarc(call).await,
            Api::Iam => state.iam(call),
            Api::ResourceManager => state.resource_manager(call),
            Api::ServiceUsage => state.service_usage(call).await,
            Api::SecretManager => state.secrets(call),
            Api::PubSub => match state.pubsub_iam(call).await {
                Some(answer) => answer,
                None => {
                    drop(state);
                    let reply = self.upstream.pubsub(call).await?;
                    self.state.lock().await.pubsub_done(call, reply.status());
                    return match numbers.filter(|_| call.method == http::Method::GET && reply.status().is_success()) {
                        Some(project) => renamed(reply, &project).await,
                        None => Ok(reply),
                    };
                }
            },
            Api::Storage => match state.storage(call).await {
                Some(answer) => answer,
                None => {
                    drop(state);
                    return self.upstream.storage(call).await;
                }
            },
        };
        if let (Some(project), Ok(answer)) = (numbers, &mut answer) {
            names::by_number(call.api, &project, answer);
        }
        Ok(json_reply(call.api, &answer))
    }

    fn check(&self, call: &mut Call) -> Result<(), String> {
        let media = storage::is_media(call);
        if let Some(json) = storage::json_part(call) {
            let json = json.map_err(|why| format!("the body: {why}"))?;
            call.body = json;
        }
        let request =
            Checked { method: &call.method, path: &call.path, query: &call.query, body: &mut call.body, media };
        self.documents.of(call.api).check(request).map(drop)
    }

    /// gRPC is passed on unchanged, streaming in both directions.
    async fn grpc(&self, call: &Call, body: Incoming) -> Result<Reply, Broken> {
        if call.fault == Some(FaultKind::DropBefore) {
            return Err(Broken("dropped before the effect".into()));
        }
        let refused = match call.fault.and_then(FaultKind::answer) {
            Some(failure) => Err(failure),
            None => self.state.lock().await.enabled(call.api),
        };
        match refused {
            Ok(()) if call.api == Api::PubSub => self.upstream.grpc(call, body).await,
            Ok(()) => Ok(grpc_failure(&Failure::unknown(call))),
            Err(failure) => Ok(grpc_failure(&failure)),
        }
    }
}

/// Opens a port for each API and serves them on a thread of their own: a test may block its own, waiting for a child.
pub(super) fn start(
    shared: &Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) -> (Vec<(Api, String)>, Handle, JoinHandle<()>) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
    let mut hosts = Vec::new();
    for api in Api::ALL {
        let opened = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) = opened.unwrap_or_else(|error| panic!("no free port on 127.0.0.1: {error}"));
        hosts.push((api, address.to_string()));
        runtime.spawn(listen(listener, api, Arc::clone(shared)));
    }
    let handle = runtime.handle().clone();
    let thread = std::thread::spawn(move || {
        // Ends with the stand-in, and every connection with it.
        runtime.block_on(async { drop(stopped.await) });
    });
    (hosts, handle, thread)
}

async fn listen(listener: std::net::TcpListener, api: Api, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).unwrap_or_else(|error| panic!("cannot listen: {error}"));
    let host = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    while let Ok((stream, _)) = listener.accept().await {
        let host = host.clone();
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let (shared, host) = (Arc::clone(&shared), host.clone());
                async move { shared.serve(api, host, request).await }
            });
            // An error here is a connection that a client or a fault has ended.
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// An answer of the Pub/Sub behind with its names by number.
async fn renamed(reply: Reply, project: &str) -> Result<Reply, Broken> {
    let (parts, body) = reply.into_parts();
    let bytes = body.collect().await?.to_bytes();
    let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(Response::from_parts(parts, Full::new(bytes).map_err(never).boxed_unsync()));
    };
    names::by_number(Api::PubSub, project, &mut value);
    Ok(json_reply(Api::PubSub, &Ok(value)))
}

pub(super) fn json_reply(api: Api, answer: &Answer) -> Reply {
    let (code, body) = match answer {
        Ok(Value::Null) => (204, String::new()),
        Ok(value) => (200, value.to_string()),
        Err(failure) => (failure.code, failure.body(api).to_string()),
    };
    let mut reply = Response::new(Full::new(Bytes::from(body)).map_err(never).boxed_unsync());
    *reply.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let json = HeaderValue::from_static("application/json; charset=UTF-8");
    reply.headers_mut().insert(http::header::CONTENT_TYPE, json);
    if code == 429 {
        reply.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// A gRPC answer without messages: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.
fn grpc_failure(failure: &Failure) -> Reply {
    let mut reply = Response::new(Empty::new().map_err(never).boxed_unsync());
    let headers = reply.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(failure.grpc_code())));
    if let Ok(message) = HeaderValue::from_str(&failure.message) {
        headers.insert("grpc-message", message);
    }
    reply
}

fn never(never: Infallible) -> Broken {
    match never {}
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}
