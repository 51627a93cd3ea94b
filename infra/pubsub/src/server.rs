//! The port: HTTP/1.1 and HTTP/2 without TLS, distinguished by the first bytes of a connection.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::Status;

use super::push::token::key_set;
use super::rest::response::refusal;
use super::shared::{DRAIN_TIMEOUT, Shared};
use super::{browser_guard, grpc, push, rest};

/// The most connections that are served at once; more wait.
const MAX_CONNECTIONS: usize = 4096;

pub(super) async fn run(listener: std::net::TcpListener, shared: Arc<Shared>, shutdown: impl Future<Output = ()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        // The listener is bound and does not block: only a runtime without I/O refuses it.
        Err(error) => panic!("the local Pub/Sub cannot be served by this runtime: {error}"),
    };
    let router = Router::new()
        .route("/", get(|| async { "Ok" }))
        .route("/oauth2/v3/certs", get(|| async { axum::Json(key_set()) }))
        .merge(grpc::router(Arc::clone(&shared)))
        .merge(rest::router(Arc::clone(&shared)))
        .fallback(not_found)
        .layer(from_fn(refuse_pages));
    let timers = {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move { shared.run_timers().await })
    };
    for name in shared.with_state(|state, _| state.push_subscriptions()) {
        push::begin(&shared, &name);
    }
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            accepted = accept => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        let Ok((stream, _)) = accepted else {
            // Too many open files, or a connection that is closed already. Both pass: go on after a moment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Small answers must not wait for more data to send.
        let _ = stream.set_nodelay(true);
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new());
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_concurrent_streams(1000);
        let service = TowerToHyperService::new(router.clone());
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            // A broken connection concerns its client alone, which sees it too.
            let _ = connection.await;
            drop(slot);
        });
    }
    drop(listener);
    shared.begin_shutdown();
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, async {
        graceful.shutdown().await;
        shared.push_client.drained().await;
    })
    .await;
    // Connections that have not finished by now are cut.
    connections.shutdown().await;
    let _ = timers.await;
    // Writes the last changes, which may take as long as the disk does.
    let _ = tokio::task::spawn_blocking(move || shared.close()).await;
}

/// Refuses requests that a web page may have sent.
async fn refuse_pages(request: Request, next: Next) -> Response {
    match browser_guard::check(&request) {
        Ok(()) => next.run(request).await,
        Err(why) if grpc::is_grpc(request.headers()) => grpc::forbidden(why),
        Err(why) => refusal(&Status::permission_denied(why)),
    }
}

async fn not_found(request: Request) -> Response {
    let path = request.uri().path();
    if grpc::is_grpc(request.headers()) {
        return grpc::unknown_service(path);
    }
    refusal(&Status::not_found(format!("There is nothing at {path}; Pub/Sub's REST API is under /v1/.")))
}
