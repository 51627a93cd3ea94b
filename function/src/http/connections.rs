//! Accepts connections within bounds and closes them gracefully.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;

use crate::config::SHUTDOWN_TIMEOUT;

/// Connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1024;
/// How long a request's headers may take to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Headers of a request. An unwrapped push has one for each of up to 100 attributes, and Google's front end adds some.
const MAX_HEADERS: usize = 160;
/// Bytes of a request's headers.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// Streams at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// How long a client may take nothing of its response. Responses have megabytes, and a thousand that are not read would
/// exhaust the memory.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Between keep-alive pings on an HTTP/2 connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// The pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is ready, then until the requests in flight have ended. Meanwhile the port stays open, so
/// that health checks see that this process is draining; `router` refuses events then.
pub(crate) async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let server = Server { builder: builder(), router, permits: Arc::new(Semaphore::new(MAX_CONNECTIONS)) };
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = server.accept(&listener) => server.spawn(accepted, Some(&graceful)),
            () = &mut shutdown => break,
        }
    }
    let mut ended = std::pin::pin!(tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()));
    let ended = loop {
        tokio::select! {
            accepted = server.accept(&listener) => server.spawn(accepted, None),
            ended = &mut ended => break ended,
        }
    };
    if ended.is_err() {
        tracing::warn!("requests still in flight after {} s are cut off", SHUTDOWN_TIMEOUT.as_secs());
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL));
    builder
}

struct Server {
    builder: auto::Builder<TokioExecutor>,
    router: Router,
    permits: Arc<Semaphore>,
}

type Accepted = (TcpStream, Option<OwnedSemaphorePermit>);

impl Server {
    /// The next connection, once one more is permitted.
    async fn accept(&self, listener: &TcpListener) -> Accepted {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok(); // the semaphore is never closed
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) => {
                    // Out of file descriptors, for example: they are free again when connections end.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection in a task of its own. With `graceful`, shutdown waits for the connection's requests.
    fn spawn(&self, (stream, permit): Accepted, graceful: Option<&GracefulShutdown>) {
        let _ = stream.set_nodelay(true);
        let router = TowerToHyperService::new(self.router.clone());
        let used = Arc::new(AtomicBool::new(false));
        let mark = Arc::clone(&used);
        let service = service_fn(move |request| {
            mark.store(true, Ordering::Relaxed);
            router.call(request)
        });
        let connection = self.builder.serve_connection(TokioIo::new(with_write_timeout(stream)), service).into_owned();
        match graceful {
            Some(graceful) => tokio::spawn(run_connection(graceful.watch(connection), used, permit)),
            None => tokio::spawn(run_connection(connection, used, permit)),
        };
    }
}

async fn run_connection<E: Debug>(
    connection: impl Future<Output = Result<(), E>>,
    used: Arc<AtomicBool>,
    permit: Option<OwnedSemaphorePermit>,
) {
    let mut connection = std::pin::pin!(connection);
    // The header time-out of HTTP/1 begins only when the client has shown which protocol it speaks, and HTTP/2 has
    // none.
    let ended = match tokio::time::timeout(HEADER_TIMEOUT, &mut connection).await {
        Ok(ended) => ended,
        Err(_) if used.load(Ordering::Relaxed) => connection.await,
        Err(_) => Ok(()),
    };
    if let Err(error) = ended {
        tracing::debug!(?error, "connection ended");
    }
    drop(permit);
}

/// Writes that make no progress in [`WRITE_TIMEOUT`] fail. Boxed, since hyper wants a stream that can be moved.
fn with_write_timeout<S: AsyncRead + AsyncWrite>(stream: S) -> Pin<Box<TimeoutStream<S>>> {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIMEOUT));
    Box::pin(stream)
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_is_given_up_and_a_slow_one_is_not() {
        let (server, mut client) = duplex(16);
        let mut server = with_write_timeout(server);
        let start = Instant::now();
        let slow = async {
            for _ in 0..4 {
                sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                client.read_exact(&mut [0; 16]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 64]), slow);
        assert!(written.is_ok() && start.elapsed() > 2 * WRITE_TIMEOUT);

        let start = Instant::now();
        let error = server.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (ErrorKind::TimedOut, WRITE_TIMEOUT.as_secs()));
        drop(client);
    }
}
