//! Accepting connections, with bounds, and ending them in good order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// How long a request's headers may take to arrive.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Streams at once on an HTTP/2 connection.
const STREAMS: u32 = 256;
/// Requests in flight have this long to end after the stop signal. Cloud Run ends the process after 10 s.
const DRAIN_TIME: Duration = Duration::from_secs(9);

/// Serves until `shutdown` is ready, then takes no more connections and lets requests in flight end.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(64 << 10);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Some(Duration::from_secs(20)));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let accept = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            accepted = accept => accepted,
            () = &mut shutdown => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, say: they come back when connections end.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(router.clone());
        let used = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&used);
        let service = service_fn(move |request| {
            mark.store(true, Ordering::Relaxed);
            router.call(request)
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            // The header time-out of HTTP/1 begins only when the client has shown which protocol it speaks, and HTTP/2 has none.
            let ended = match tokio::time::timeout(HEADER_TIME, &mut connection).await {
                Ok(ended) => ended,
                Err(_) if used.load(Ordering::Relaxed) => connection.await,
                Err(_) => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(error, "connection ended");
            }
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight after {} s are cut off", DRAIN_TIME.as_secs());
    }
}
