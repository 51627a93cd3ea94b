//! The built binary, as a user runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
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
        let mut child = command(variables)
            .env("PORT", "0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the function: {error}"));
        let stdout = child.stdout.take();
        let mut stdout = BufReader::new(stdout.unwrap_or_else(|| panic!("no standard output")));
        let mut line = || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            read.unwrap_or_else(|error| panic!("no line from the function: {error}"));
            line.trim_end().to_owned()
        };
        let (first, example) = (line(), line());
        let address = first
            .split_once("http://")
            .and_then(|(_, rest)| rest.split(';').next())
            .unwrap_or_else(|| panic!("no address in {first:?}"))
            .to_owned();
        let function = Self { child, stdout, address, example, client: client() };
        let start = Instant::now();
        while function.get("/health/ready").await.status() != 200 {
            assert!(start.elapsed() < Duration::from_secs(20), "never ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        function
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

    /// Sends SIGTERM and waits; returns the exit code and what it had still printed.
    pub fn terminate(mut self) -> (Option<i32>, String) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "no signal sent");
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
    let mut command = Command::new(binary());
    for name in ["PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "RESULTS", "LEDGER", "MODEL", "RUST_LOG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Builds `main`, once.
fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build("function", "main"))
}
