//! One process of a service: started, read, signalled.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};

use super::environment::Environment;
use super::process_group::{ProcessGroup, lead_group};

/// Longer lines are cut.
const MAX_LINE_BYTES: usize = 256 << 10;
/// Lines of output that are kept, to be shown if the process crashes.
const TAIL_LINES: usize = 20;
/// How long a process may take until it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// How long the end of a process waits for the rest of its output, which another process may hold open.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(1);

/// An event of a process.
#[derive(Debug)]
pub(super) struct ProcessReport {
    pub(super) service: String,
    /// Which process of the service.
    pub(super) number: u64,
    pub(super) event: ProcessEvent,
}

#[derive(Debug)]
pub(super) enum ProcessEvent {
    /// The process wrote a line.
    Line(String),
    /// The process serves this address and has run its model.
    Ready(SocketAddr),
    /// The process listens, but did not become ready in time.
    Unready,
    /// The process exited, with this status if there is one.
    Exited(Option<ExitStatus>),
}

/// A running process of a service; killed when dropped.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) id: u32,
    pub(super) started: Instant,
    /// Where the process listens, once it is ready.
    pub(super) address: Option<SocketAddr>,
    /// The process was told to end.
    pub(super) stopping: bool,
    /// The last lines that it wrote.
    pub(super) tail: VecDeque<String>,
    group: ProcessGroup,
}

impl Process {
    pub(super) fn start(
        binary: &Path,
        environment: &Environment,
        number: u64,
        http: &reqwest::Client,
        reports: &Sender<ProcessReport>,
    ) -> Result<Self> {
        let mut command = std::process::Command::new(binary);
        lead_group(&mut command);
        environment.apply(&mut command);
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let what = || format!("starting {} for service `{}`", binary.display(), environment.service);
        let mut child = command.spawn().with_context(what)?;
        let id = child.id().with_context(what)?;
        let group = ProcessGroup::of(id)?;
        let reporter = Reporter { service: environment.service.clone(), number, reports: reports.clone() };
        let out = child.stdout.take().map(|out| tokio::spawn(read_out(out, reporter.clone(), http.clone())));
        let err = child.stderr.take().map(|err| tokio::spawn(read_lines(err, reporter.clone())));
        tokio::spawn(async move {
            let status = child.wait().await.ok();
            // Its last lines are reported before its exit.
            for reader in [out, err].into_iter().flatten() {
                let _ = timeout(OUTPUT_TIMEOUT, reader).await;
            }
            reporter.report(ProcessEvent::Exited(status)).await;
        });
        let (address, tail) = (None, VecDeque::new());
        Ok(Self { number, id, started: Instant::now(), address, stopping: false, tail, group })
    }

    /// Sends SIGTERM: the process finishes what it has begun, and exits.
    pub(super) fn terminate(&mut self) {
        self.stopping = true;
        self.group.terminate();
    }

    pub(super) fn kill(&mut self) {
        self.stopping = true;
        self.group.kill();
    }

    /// Call it when the process has exited, so that its group is not signalled any more.
    pub(super) fn ended(self) {
        self.group.dismiss();
    }

    pub(super) fn remember(&mut self, line: &str) {
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}

#[derive(Clone)]
struct Reporter {
    service: String,
    number: u64,
    reports: Sender<ProcessReport>,
}

impl Reporter {
    async fn report(&self, event: ProcessEvent) {
        // An error says that the session has ended.
        let _ = self.reports.send(ProcessReport { service: self.service.clone(), number: self.number, event }).await;
    }
}

/// Reads standard output: first the line with the address and an example, which the banner replaces; then lines to
/// report.
async fn read_out(out: impl AsyncRead + Unpin, reporter: Reporter, http: reqwest::Client) {
    let mut reader = BufReader::new(out);
    let mut address = None;
    while let Some(line) = next_line(&mut reader).await {
        match address {
            None => {
                address = listening(&line);
                match address {
                    Some(address) => drop(tokio::spawn(ready(address, reporter.clone(), http.clone()))),
                    None => reporter.report(ProcessEvent::Line(line)).await,
                }
            }
            Some(address) if line.is_empty() || line.starts_with(&format!("curl http://{address}/")) => {}
            Some(_) => reporter.report(ProcessEvent::Line(line)).await,
        }
    }
}

async fn read_lines(out: impl AsyncRead + Unpin, reporter: Reporter) {
    let mut reader = BufReader::new(out);
    while let Some(line) = next_line(&mut reader).await {
        reporter.report(ProcessEvent::Line(line)).await;
    }
}

/// The address in `listening on http://127.0.0.1:8080; try:`.
fn listening(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on http://")?.split(';').next()?.trim().parse().ok()
}

/// Polls the readiness of a process.
async fn ready(address: SocketAddr, reporter: Reporter, http: reqwest::Client) {
    let url = format!("http://{address}/health/ready");
    let start = Instant::now();
    while start.elapsed() < READY_TIMEOUT {
        let answer = http.get(&url).timeout(Duration::from_secs(5)).send().await;
        if answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
            return reporter.report(ProcessEvent::Ready(address)).await;
        }
        if reporter.reports.is_closed() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    reporter.report(ProcessEvent::Unready).await;
}

/// The next line without its end, cut to [`MAX_LINE_BYTES`].
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let part = reader.fill_buf().await.ok()?;
        if part.is_empty() {
            return (!line.is_empty()).then(|| text(&line));
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(part.len(), |end| end + 1);
        let room = MAX_LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(&part[..end.unwrap_or(part.len()).min(room)]);
        reader.consume(taken);
        if end.is_some() {
            return Some(text(&line));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_to_the_end_and_long_ones_cut() {
        let long = "x".repeat(MAX_LINE_BYTES + 10);
        let written = format!("one\r\n\n{long}\nlast");
        let mut reader = BufReader::new(written.as_bytes());
        assert_eq!(next_line(&mut reader).await.unwrap(), "one");
        assert_eq!(next_line(&mut reader).await.unwrap(), "");
        assert_eq!(next_line(&mut reader).await.unwrap().len(), MAX_LINE_BYTES);
        assert_eq!(next_line(&mut reader).await.unwrap(), "last");
        assert!(next_line(&mut reader).await.is_none());
    }

    #[test]
    fn the_address_is_in_the_first_line() {
        assert_eq!(listening("listening on http://127.0.0.1:8080; try:"), "127.0.0.1:8080".parse().ok());
        assert_eq!(listening("{\"severity\":\"INFO\"}"), None);
    }
}
