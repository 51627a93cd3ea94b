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
use super::guard::{Guard, lead_group};

/// The longest line that is kept whole, in bytes.
const LINE: usize = 256 << 10;
/// Lines of output that are kept for when it crashes.
const TAIL: usize = 20;
/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a process has to tell.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) service: String,
    /// Which process of the service.
    pub(super) number: u64,
    pub(super) news: News,
}

#[derive(Debug)]
pub(super) enum News {
    /// It wrote a line.
    Line(String),
    /// It answers at this address and has run its model.
    Ready(SocketAddr),
    /// It listens and does not become ready.
    Unready,
    Exited(Option<ExitStatus>),
}

/// A running process; ends with its handle.
pub(super) struct Process {
    pub(super) number: u64,
    pub(super) id: u32,
    pub(super) started: Instant,
    /// Where it answers, once it is ready.
    pub(super) address: Option<SocketAddr>,
    /// It was told to end.
    pub(super) stopping: bool,
    /// What it wrote last.
    pub(super) tail: VecDeque<String>,
    guard: Guard,
}

impl Process {
    pub(super) fn start(
        binary: &Path,
        environment: &Environment,
        number: u64,
        http: &reqwest::Client,
        reports: &Sender<Report>,
    ) -> Result<Self> {
        let mut command = std::process::Command::new(binary);
        lead_group(&mut command);
        environment.apply(&mut command);
        let mut command = Command::from(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let what = || format!("starting {} for service `{}`", binary.display(), environment.service);
        let mut child = command.spawn().with_context(what)?;
        let id = child.id().with_context(what)?;
        let guard = Guard::of(id)?;
        let teller = Teller { service: environment.service.clone(), number, reports: reports.clone() };
        let out = child.stdout.take().map(|out| tokio::spawn(read_out(out, teller.clone(), http.clone())));
        let err = child.stderr.take().map(|err| tokio::spawn(read_lines(err, teller.clone())));
        tokio::spawn(async move {
            let status = child.wait().await.ok();
            // What it wrote before its end comes before the news of it, unless someone else holds its pipes.
            for reader in [out, err].into_iter().flatten() {
                let _ = timeout(Duration::from_secs(1), reader).await;
            }
            teller.tell(News::Exited(status)).await;
        });
        let (address, tail) = (None, VecDeque::new());
        Ok(Self { number, id, started: Instant::now(), address, stopping: false, tail, guard })
    }

    /// SIGTERM: it ends what it has begun, and then itself.
    pub(super) fn terminate(&mut self) {
        self.stopping = true;
        self.guard.terminate();
    }

    pub(super) fn kill(&mut self) {
        self.stopping = true;
        self.guard.kill();
    }

    /// It has ended.
    pub(super) fn ended(self) {
        self.guard.dismiss();
    }

    pub(super) fn remember(&mut self, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}

#[derive(Clone)]
struct Teller {
    service: String,
    number: u64,
    reports: Sender<Report>,
}

impl Teller {
    async fn tell(&self, news: News) {
        // An error says that nobody is interested any more.
        let _ = self.reports.send(Report { service: self.service.clone(), number: self.number, news }).await;
    }
}

/// Standard output: first where it listens, with an example to paste that is shown elsewhere; then whatever it prints.
async fn read_out(out: impl AsyncRead + Unpin, teller: Teller, http: reqwest::Client) {
    let mut reader = BufReader::new(out);
    let mut address = None;
    while let Some(line) = next_line(&mut reader).await {
        match address {
            None => {
                address = listening(&line);
                match address {
                    Some(address) => drop(tokio::spawn(ready(address, teller.clone(), http.clone()))),
                    None => teller.tell(News::Line(line)).await,
                }
            }
            Some(address) if line.is_empty() || line.starts_with(&format!("curl http://{address}/")) => {}
            Some(_) => teller.tell(News::Line(line)).await,
        }
    }
}

async fn read_lines(out: impl AsyncRead + Unpin, teller: Teller) {
    let mut reader = BufReader::new(out);
    while let Some(line) = next_line(&mut reader).await {
        teller.tell(News::Line(line)).await;
    }
}

/// The address in `listening on http://127.0.0.1:8080; try:`.
fn listening(line: &str) -> Option<SocketAddr> {
    line.strip_prefix("listening on http://")?.split(';').next()?.trim().parse().ok()
}

/// Asks until it is ready.
async fn ready(address: SocketAddr, teller: Teller, http: reqwest::Client) {
    let url = format!("http://{address}/health/ready");
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let answer = http.get(&url).timeout(Duration::from_secs(5)).send().await;
        if answer.is_ok_and(|answer| answer.status().as_u16() == 200) {
            return teller.tell(News::Ready(address)).await;
        }
        if teller.reports.is_closed() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    teller.tell(News::Unready).await;
}

/// The next line without its end; what is longer than [`LINE`] is cut.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let part = reader.fill_buf().await.ok()?;
        if part.is_empty() {
            return (!line.is_empty()).then(|| text(&line));
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(part.len(), |end| end + 1);
        let room = LINE.saturating_sub(line.len());
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
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[tokio::test]
    async fn lines_are_read_to_the_end_and_long_ones_cut() {
        let long = "x".repeat(LINE + 10);
        let written = format!("one\r\n\n{long}\nlast");
        let mut reader = BufReader::new(written.as_bytes());
        assert_eq!(next_line(&mut reader).await.unwrap(), "one");
        assert_eq!(next_line(&mut reader).await.unwrap(), "");
        assert_eq!(next_line(&mut reader).await.unwrap().len(), LINE);
        assert_eq!(next_line(&mut reader).await.unwrap(), "last");
        assert!(next_line(&mut reader).await.is_none());
    }

    #[test]
    fn the_address_is_in_the_first_line() {
        assert_eq!(listening("listening on http://127.0.0.1:8080; try:"), "127.0.0.1:8080".parse().ok());
        assert_eq!(listening("{\"severity\":\"INFO\"}"), None);
    }
}
