//! A Pub/Sub that takes publish requests over gRPC and calls some of them invalid, by an undocumented rule.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::TcpListener;

/// The requests that it got, as protocol buffers, and whether it accepted them.
type Requests = Arc<Mutex<Vec<(Bytes, bool)>>>;

/// Starts one; returns its address and the requests it gets.
pub(super) async fn start(takes: impl Fn(&[u8]) -> bool + Clone + Send + Sync + 'static) -> (String, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let requests = Requests::default();
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (seen, takes) = (Arc::clone(&seen), takes.clone());
            let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
                let (seen, takes) = (Arc::clone(&seen), takes.clone());
                async move {
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let taken = takes(&body);
                    seen.lock().unwrap().push((body, taken));
                    Ok::<_, Infallible>(answer(taken))
                }
            });
            tokio::spawn(async move {
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (address, requests)
}

fn answer(taken: bool) -> Response<http_body_util::combinators::BoxBody<Bytes, Infallible>> {
    const INVALID_ARGUMENT: &str = "3";
    // A frame with a PublishResponse whose one message id is "1"; none where the request is refused.
    let body = if taken { Bytes::from_static(&[0, 0, 0, 0, 3, 0x0a, 1, b'1']) } else { Bytes::new() };
    let status = if taken { "0" } else { INVALID_ARGUMENT };
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
    let body = Full::new(body).with_trailers(async move { Some(Ok(trailers)) }).boxed();
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}
