//! The whole server on a free port, spoken to over HTTP.

mod connections;
mod limits;
mod responses;
mod tokens;

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Config, Function, Message, Outcome, StartError, Task, Work};

/// Does what a payload's first word says, and notes every batch. Costs a token a byte.
#[derive(Clone, Default)]
struct Obey(Arc<Record>);

#[derive(Default)]
struct Record {
    batches: Mutex<Vec<Vec<String>>>,
    /// Whether `wait` still waits.
    open: Mutex<bool>,
    opened: Condvar,
}

impl Obey {
    fn batches(&self) -> Vec<Vec<String>> {
        self.0.batches.lock().unwrap().clone()
    }

    fn open(&self) {
        *self.0.open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}

impl Task for Obey {
    type Input = String;
    fn name(&self) -> &str {
        "obey"
    }
    fn accept(&self, message: &Message) -> Result<Work<String>, Outcome> {
        let input = String::from_utf8(message.data.to_vec()).unwrap();
        assert!(!input.starts_with("refuse to be read"));
        if input.starts_with("reject") {
            return Err(Outcome::rejected("bad-payload", "it asks for it"));
        }
        Ok(Work { cost: input.len(), input })
    }
    fn run(&self, batch: &[&String]) -> Vec<Outcome> {
        self.0.batches.lock().unwrap().push(batch.iter().map(|text| (*text).clone()).collect());
        if batch.iter().any(|text| text.starts_with("wait")) {
            let open = self.0.open.lock().unwrap();
            drop(self.0.opened.wait_while(open, |open| !*open).unwrap());
        }
        assert!(!batch.iter().any(|text| text.starts_with("panic")));
        let outcome = |text: &&String| match text.as_str() {
            "retry" => Outcome::Retry { detail: "not yet".into(), after: Some(std::time::Duration::from_millis(2500)) },
            text => Outcome::Done(json!({ "length": text.len() }).to_string().into()),
        };
        batch.iter().map(outcome).collect()
    }
}

/// A running server.
struct Server {
    address: SocketAddr,
    task: Obey,
    client: Client,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), StartError>>,
}

impl Server {
    async fn start(arguments: &[&str]) -> Self {
        let task = Obey::default();
        Self::with(Function::new().task(task.clone()), task, arguments).await
    }

    async fn with(function: Function, task: Obey, arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = config(arguments);
        crate::clients::use_ring();
        let ended = tokio::spawn(function.serve(config, listener, async move {
            let _ = stopped.await;
        }));
        Self { address, task, client: Client::new(), stop, ended }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).send().await.unwrap()
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> Response {
        self.client.post(self.url("/")).body(body).send().await.unwrap()
    }

    async fn push(&self, text: &str) -> Response {
        self.post(push(text, &json!({}))).await
    }

    /// A push whose response is read later.
    fn later(&self, text: &str) -> JoinHandle<Response> {
        let request = self.client.post(self.url("/")).body(push(text, &json!({})));
        tokio::spawn(async move { request.send().await.unwrap() })
    }

    /// Waits until the metrics have this line.
    async fn until_metric(&self, line: &str) {
        until(async || self.get("/metrics").await.text().await.unwrap().lines().any(|found| found == line)).await;
    }

    async fn until_batches(&self, count: usize) {
        until(async || self.task.batches().len() >= count).await;
    }
}

fn config(arguments: &[&str]) -> Config {
    Config::try_parse_from([&["main"], arguments].concat()).unwrap()
}

fn push(text: &str, attributes: &Value) -> String {
    json!({
        "message": { "data": BASE64_STANDARD.encode(text), "messageId": "17", "attributes": attributes },
        "subscription": "projects/p/subscriptions/s",
    })
    .to_string()
}

async fn until(condition: impl AsyncFn() -> bool) {
    while !condition().await {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// Checks that a response is a whole problem after RFC 9457, and returns its `type`'s last part, `outcome` and
/// `message_id`.
async fn problem(response: Response, status: u16) -> (String, String, Value) {
    assert_eq!(response.status().as_u16(), status);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert!(!body["title"].as_str().unwrap().is_empty() && !body["detail"].as_str().unwrap().is_empty());
    let kind = body["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    (kind, body["outcome"].as_str().unwrap().to_owned(), body["message_id"].clone())
}
