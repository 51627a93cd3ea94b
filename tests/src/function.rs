//! The built binary, as a user runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use reqwest::{Client, Response};
use serde_json::{Value, json};

use crate::http::client;
use crate::process::build;

/// A running `main` on a free port; killed when dropped.
#[derive(Debug)]
pub struct Function {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
    example: String,
    client: Client,
}

/// Methods panic when the process does not do what every test needs of it.
impl Function {
    /// Starts it with these environment variables and waits until it is ready.
    pub async fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = command(variables);
        command.env("PORT", "0");
        Self::spawn(command).await.unwrap_or_else(|status| panic!("it ended before it was ready: {status}"))
    }

    /// Starts a program that serves tasks, whose command says the port, and waits until it is ready.
    ///
    /// # Errors
    /// It ended before that: with what status.
    pub async fn spawn(mut command: Command) -> Result<Self, ExitStatus> {
        let mut child =
            command.stdout(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("cannot start the function: {error}"));
        let stdout = child.stdout.take();
        let mut stdout = BufReader::new(stdout.unwrap_or_else(|| panic!("no standard output")));
        let mut line = || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            read.unwrap_or_else(|error| panic!("no line from the function: {error}"));
            line.trim_end().to_owned()
        };
        let (first, example) = (line(), line());
        if example.is_empty() {
            return Err(child.wait().unwrap_or_else(|error| panic!("no status: {error}")));
        }
        let address = first
            .split_once("http://")
            .and_then(|(_, rest)| rest.split(';').next())
            .unwrap_or_else(|| panic!("no address in {first:?}"))
            .to_owned();
        let mut function = Self { child, stdout, address, example, client: client() };
        let start = Instant::now();
        loop {
            let answer = function.client.get(function.url("/health/ready")).send().await;
            if answer.as_ref().is_ok_and(|answer| answer.status() == 200) {
                return Ok(function);
            }
            if let Some(status) = function.ended() {
                return Err(status);
            }
            assert!(start.elapsed() < Duration::from_secs(20), "never ready: {answer:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `http://HOST:PORT` and this path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The command that it prints at the start.
    pub fn example(&self) -> &str {
        &self.example
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Response {
        let answer = self.client.get(self.url(path)).send().await;
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// The value of a metric without labels, or of one with these: `queue_tokens`,
    /// `messages_total{task="embed",outcome="done"}`.
    pub async fn metric(&self, sample: &str) -> Option<f64> {
        let text = self.get("/metrics").await.text().await.unwrap_or_else(|error| panic!("GET /metrics: {error}"));
        text.lines().find_map(|line| line.strip_prefix(sample)?.trim().parse().ok())
    }

    /// POST to `/` with these headers.
    pub async fn post(&self, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Response {
        let mut request = self.client.post(self.url("/")).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap_or_else(|error| panic!("POST: {error}"))
    }

    /// Posts a wrapped Pub/Sub push; returns the status and the body.
    pub async fn push(&self, data: impl AsRef<[u8]>, attributes: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.post(&[("content-type", "application/json")], wrapped(data, attributes).to_string()).await;
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("no status: {error}"))
    }

    /// Whether it runs and says that it is live.
    pub async fn is_live(&mut self) -> bool {
        let answer = self.client.get(self.url("/health/live")).send().await;
        self.ended().is_none() && answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Sends SIGTERM.
    pub fn stop(&self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal sent");
    }

    /// Sends SIGTERM and waits; returns the exit code and what it had still printed.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        self.stop();
        let mut rest = String::new();
        let _ = self.stdout.read_to_string(&mut rest);
        let status = self.child.wait();
        (status.ok().and_then(|status| status.code()), rest)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Pub/Sub push body.
pub fn wrapped(data: impl AsRef<[u8]>, attributes: &[(&str, &str)]) -> Value {
    let attributes: Value = attributes
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "message": {
            "data": BASE64_STANDARD.encode(data),
            "attributes": attributes,
            "messageId": "17",
            "message_id": "17",
            "publishTime": "2026-11-24T10:00:00Z",
            "publish_time": "2026-11-24T10:00:00Z",
        },
        "subscription": "projects/p/subscriptions/s",
    })
}

/// The built binary with these variables and none of the caller's own settings.
pub fn command(variables: &[(&str, &str)]) -> Command {
    program(binary(), variables)
}

/// The same of another program.
pub fn program(path: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(path);
    for name in ["PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "RESULTS", "LEDGER", "MODEL", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Builds `main`, once.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("main"))
}
