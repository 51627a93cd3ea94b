//! Accepting connections, with bounds, and ending them in good order.

mod patient;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use patient::Patient;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// How long a request's headers may take to arrive.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// Headers of a request. An unwrapped push has one for each of up to 100 attributes, and Google's front end adds some.
const HEADERS: usize = 160;
/// Bytes of a request's headers.
const HEADER_BYTES: u32 = 64 << 10;
/// Streams at once on an HTTP/2 connection.
const STREAMS: u32 = 256;
/// Requests in flight have this long to end after the stop signal. Cloud Run ends the process after 10 s.
pub(crate) const DRAIN_TIME: Duration = Duration::from_secs(9);

/// Serves until `shutdown` is ready, then until the requests in flight have ended. Meanwhile the port stays open, so that
/// whoever asks learns that this process is draining; `router` refuses work then.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let server = Server { builder: builder(), router, room: Arc::new(Semaphore::new(CONNECTIONS)) };
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = server.accept(&listener) => server.spawn(accepted, Some(&graceful)),
            () = &mut shutdown => break,
        }
    }
    let mut ended = std::pin::pin!(tokio::time::timeout(DRAIN_TIME, graceful.shutdown()));
    let ended = loop {
        tokio::select! {
            accepted = server.accept(&listener) => server.spawn(accepted, None),
            ended = &mut ended => break ended,
        }
    };
    if ended.is_err() {
        tracing::warn!("requests still in flight after {} s are cut off", DRAIN_TIME.as_secs());
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(Some(Duration::from_secs(20)));
    builder
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    room: Arc<Semaphore>,
}

type Accepted = (TcpStream, Option<OwnedSemaphorePermit>);

impl Server {
    /// The next connection, once there is room for one.
    async fn accept(&self, listener: &TcpListener) -> Accepted {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok(); // the semaphore is never closed
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => {
                    // Out of file descriptors, say: they come back when connections end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    /// Serves a connection on a task of its own; the end waits for it if `graceful` knows it.
    fn spawn(&self, (stream, permit): Accepted, graceful: Option<&GracefulShutdown>) {
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(self.router.clone());
        let used = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&used);
        let service = service_fn(move |request| {
            mark.store(true, Ordering::Relaxed);
            router.call(request)
        });
        let connection = self.builder.serve_connection(TokioIo::new(Patient::new(stream)), service).into_owned();
        match graceful {
            Some(graceful) => tokio::spawn(attend(graceful.watch(connection), used, permit)),
            None => tokio::spawn(attend(connection, used, permit)),
        };
    }
}

async fn attend<E: Debug>(
    connection: impl Future<Output = Result<(), E>>,
    used: Arc<AtomicBool>,
    permit: Option<OwnedSemaphorePermit>,
) {
    let mut connection = std::pin::pin!(connection);
    // The header time-out of HTTP/1 begins only when the client has shown which protocol it speaks, and HTTP/2 has none.
    let ended = match tokio::time::timeout(HEADER_TIME, &mut connection).await {
        Ok(ended) => ended,
        Err(_) if used.load(Ordering::Relaxed) => connection.await,
        Err(_) => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(?error, "connection ended");
    }
    drop(permit);
}
