//! The Pub/Sub and the Cloud Storage behind the proxies.

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::call::Call;
use super::server::{Body, Broken, Reply};

/// Clients of both.
#[derive(Clone, Debug)]
pub(super) struct Upstream {
    pubsub: String,
    storage: String,
    rest: Client<HttpConnector, Body>,
    grpc: Client<HttpConnector, Body>,
}

impl Upstream {
    /// `HOST:PORT` of each.
    pub(super) fn new(pubsub: &str, storage: &str) -> Self {
        let client = |http2: bool| {
            // No connection is kept: one that the other side has just closed would look like a fault.
            let mut builder = Client::builder(TokioExecutor::new());
            if http2 { builder.http2_only(true).build_http() } else { builder.pool_max_idle_per_host(0).build_http() }
        };
        Self { pubsub: pubsub.to_owned(), storage: storage.to_owned(), rest: client(false), grpc: client(true) }
    }

    /// The request as it came, over REST.
    pub(super) async fn pubsub(&self, call: &Call) -> Result<Reply, Broken> {
        let request = self.request(&self.pubsub, &call.method, call, full(call.bytes.clone()))?;
        send(&self.rest, request).await
    }

    /// The request as it came.
    pub(super) async fn storage(&self, call: &Call) -> Result<Reply, Broken> {
        let request = self.request(&self.storage, &call.method, call, full(call.bytes.clone()))?;
        let mut reply = send(&self.rest, request).await?;
        // A resumable upload goes on where this says: here, not there.
        let location = reply.headers().get(header::LOCATION).and_then(|location| location.to_str().ok());
        if let Some(Ok(location)) = location.map(|location| location.replace(&self.storage, &call.host).parse()) {
            reply.headers_mut().insert(header::LOCATION, location);
        }
        Ok(reply)
    }

    /// gRPC, streaming in both directions.
    pub(super) async fn grpc(&self, call: &Call, body: Incoming) -> Result<Reply, Broken> {
        let body = body.map_err(broken).boxed_unsync();
        let mut request = self.request(&self.pubsub, &call.method, call, body)?;
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert(header::TE, header::HeaderValue::from_static("trailers"));
        send(&self.grpc, request).await
    }

    /// One more request to Pub/Sub; returns status and JSON, null if it is none.
    pub(super) async fn ask_pubsub(&self, method: Method, path: &str, body: &Value) -> Result<(u16, Value), Broken> {
        self.ask(&self.pubsub, method, path, body).await
    }

    /// One more request to Cloud Storage; returns status and JSON, null if it is none.
    pub(super) async fn ask_storage(&self, method: Method, path: &str, body: &Value) -> Result<(u16, Value), Broken> {
        self.ask(&self.storage, method, path, body).await
    }

    /// The data at a path of Cloud Storage; `None` if it answers with an error.
    pub(super) async fn storage_data(&self, path: &str) -> Result<Option<Bytes>, Broken> {
        let request = Request::builder().uri(format!("http://{}{path}", self.storage)).body(full(Bytes::new()));
        let reply = send(&self.rest, request.map_err(broken)?).await?;
        let found = reply.status().is_success();
        let data = reply.into_body().collect().await?.to_bytes();
        Ok(found.then_some(data))
    }

    async fn ask(&self, host: &str, method: Method, path: &str, body: &Value) -> Result<(u16, Value), Broken> {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let request = Request::builder().method(method).uri(format!("http://{host}{path}"));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(full(bytes)).map_err(broken)?;
        let reply = send(&self.rest, request).await?;
        let status = reply.status().as_u16();
        let body = reply.into_body().collect().await?.to_bytes();
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn request(&self, host: &str, method: &Method, call: &Call, body: Body) -> Result<Request<Body>, Broken> {
        let target = match &call.raw_query {
            Some(query) => format!("{}?{query}", call.path),
            None => call.path.clone(),
        };
        let uri = Uri::builder().scheme(Scheme::HTTP).authority(host).path_and_query(target).build().map_err(broken)?;
        let mut request = Request::new(body);
        *request.uri_mut() = uri;
        request.method_mut().clone_from(method);
        request.headers_mut().clone_from(&call.headers);
        hop_by_hop(request.headers_mut());
        request.headers_mut().remove(header::HOST);
        if request.body().size_hint().exact().is_some() {
            // Read whole: its length is known now, however it came.
            request.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(request)
    }
}

async fn send(client: &Client<HttpConnector, Body>, request: Request<Body>) -> Result<Reply, Broken> {
    let what = format!("{} {}", request.method(), request.uri());
    let response = client.request(request).await.map_err(|error| Broken(format!("{what}: {error:?}")))?;
    let (mut parts, body) = response.into_parts();
    hop_by_hop(&mut parts.headers);
    Ok(Response::from_parts(parts, body.map_err(broken).boxed_unsync()))
}

/// What is about one connection: <https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1>.
fn hop_by_hop(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::EXPECT] {
        headers.remove(name);
    }
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}
