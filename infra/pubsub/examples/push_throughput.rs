//! How fast a Pub/Sub pushes: `cargo run --release -p pubsub --example push_throughput [HOST:PORT]`.
//!
//! Starts the local Pub/Sub (or uses the one at HOST:PORT, such as Google's emulator), publishes messages of 100 bytes
//! over REST, and prints how many a second reach an endpoint that answers 204, from the first publish to the last push.
//! Everything runs in this process, on the same cores.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pubsub::{Limits, LocalPubSub};
use serde_json::{Value, json};
use tokio::sync::Notify;

type Error = Box<dyn std::error::Error>;

const MESSAGES: usize = 50_000;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let start = Instant::now();
    let host = match std::env::args().nth(1) {
        Some(host) => host,
        None => {
            let pubsub = LocalPubSub::bind("127.0.0.1:0".parse()?, Limits::default())?;
            let host = pubsub.address().to_string();
            tokio::spawn(pubsub.run(std::future::pending()));
            host
        }
    };
    let (endpoint, counter) = endpoint().await?;
    let id = format!("speed-{}", std::process::id());
    let (topic, subscription) = (format!("projects/local/topics/{id}"), format!("projects/local/subscriptions/{id}"));
    call(&host, "PUT", &topic, json!({})).await?;
    let push = json!({"topic": topic, "pushConfig": {"pushEndpoint": endpoint}});
    call(&host, "PUT", &subscription, push).await?;
    let message = json!({"data": BASE64_STANDARD.encode([b'x'; 100])});
    let publish = format!("{topic}:publish");

    call(&host, "POST", &publish, json!({"messages": [message]})).await?;
    counter.reaches(1).await?;
    println!("first message at the endpoint {:?} after the start of the process", start.elapsed());

    let batch = json!({"messages": vec![message; 1000]});
    let start = Instant::now();
    for _ in 0..MESSAGES / 1000 {
        call(&host, "POST", &publish, batch.clone()).await?;
    }
    let published = start.elapsed();
    counter.reaches(1 + MESSAGES).await?;
    let all = start.elapsed();
    println!("published {:.0}/s, pushed {:.0}/s", rate(published), rate(all));
    Ok(())
}

fn rate(time: Duration) -> f64 {
    MESSAGES as f64 / time.as_secs_f64()
}

/// Counts the requests that reach the endpoint.
#[derive(Default)]
struct Counter {
    count: AtomicUsize,
    more: Notify,
}

impl Counter {
    async fn reaches(&self, target: usize) -> Result<(), Error> {
        const PUSH_TIMEOUT: Duration = Duration::from_secs(30);
        while self.count.load(Ordering::Relaxed) < target {
            let more = self.more.notified();
            if self.count.load(Ordering::Relaxed) < target {
                tokio::time::timeout(PUSH_TIMEOUT, more).await.map_err(|_| "nothing was pushed for 30 s")?;
            }
        }
        Ok(())
    }
}

async fn endpoint() -> Result<(String, Arc<Counter>), Error> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let counter = Arc::new(Counter::default());
    let shared = Arc::clone(&counter);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counter = Arc::clone(&shared);
            let answer = service_fn(move |request: Request<Incoming>| {
                let counter = Arc::clone(&counter);
                async move {
                    let _ = request.into_body().collect().await;
                    counter.count.fetch_add(1, Ordering::Relaxed);
                    counter.more.notify_waiters();
                    let mut answer = Response::new(Empty::<Bytes>::new());
                    *answer.status_mut() = StatusCode::NO_CONTENT;
                    Ok::<_, Infallible>(answer)
                }
            });
            let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move {
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    Ok((url, counter))
}

async fn call(host: &str, method: &str, path: &str, body: Value) -> Result<(), Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{host}/v1/{path}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))?;
    let answer = client.request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status.is_success() {
        Ok(())
    } else {
        Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body)).into())
    }
}
