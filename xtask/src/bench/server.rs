//! Servers that run during a measurement, and the CPU time and memory that they use.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::measure::progress;
use crate::cargo::executable;
use crate::topology::root;

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Builds a program of package `function` in the release profile; `target`: `--bin`, `--example` or `--bench`, and its
/// name.
pub(super) fn build(target: [&str; 2]) -> Result<PathBuf> {
    progress(format_args!("building {} in the release profile", target[1]));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--release", "--quiet", "--package", "function"]).args(target);
    command.args(["--message-format", "json-render-diagnostics"]).current_dir(root());
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("running {command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    executable(&output.stdout)
}

/// A port of this machine that is free at this moment.
pub(super) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
    Ok(listener.local_addr()?.port())
}

/// A running server; stopped when dropped.
pub(super) struct Server {
    child: Child,
    /// Kept open, since the server may print more.
    _stdout: Option<BufReader<ChildStdout>>,
    pub(super) url: String,
}

/// What a server and its child processes have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// Seconds of all CPUs.
    pub(super) cpu: f64,
    /// Most memory resident at once, in bytes, of the processes added up.
    pub(super) memory: u64,
}

impl Server {
    /// Starts a program of package `function` on a free port and waits for the address that it prints.
    pub(super) fn start(program: &PathBuf, settings: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(program);
        for name in ["MODEL", "RESULTS", "TOPOLOGY", "SERVICE", "K_SERVICE", "DEAD_LETTER_TOPIC", "HOST"] {
            command.env_remove(name);
        }
        command.env("PORT", "0").env("RUST_LOG", "error").envs(settings.iter().copied());
        let mut child = spawn(command.stdout(Stdio::piped()))?;
        let mut stdout = BufReader::new(child.stdout.take().context("no pipe")?);
        let mut line = String::new();
        stdout.read_line(&mut line).with_context(|| format!("reading what {} prints", program.display()))?;
        let address = line.split_once("http://").and_then(|(_, rest)| rest.split([';', '\n']).next());
        let mut server = Self { child, _stdout: None, url: format!("http://{}", address.unwrap_or_default()) };
        if address.is_none() {
            bail!("{} printed no address but {line:?} and ended: {:?}", program.display(), server.child.try_wait());
        }
        server._stdout = Some(stdout);
        Ok(server)
    }

    /// Starts any server and waits until it listens on `port`.
    pub(super) fn start_on(mut command: Command, port: u16) -> Result<Self> {
        let child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let mut server = Self { child, _stdout: None, url: format!("http://127.0.0.1:{port}") };
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                bail!("{command:?} ended with {status} before it listened");
            }
            ensure!(
                start.elapsed() < START_TIMEOUT,
                "{command:?} did not listen on port {port} within {START_TIMEOUT:?}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Zero where there is no `/proc`: [`usage_is_measured`].
    pub(super) fn usage(&self) -> Usage {
        let own = self.child.id();
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        processes.filter(|process| *process == own || parent(*process) == Some(own)).fold(
            Usage::default(),
            |sum, process| Usage { cpu: sum.cpu + cpu_seconds(process), memory: sum.memory + peak_memory(process) },
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGTERM first, so that a server can end its child processes.
        let _ = Command::new("kill").arg(self.child.id().to_string()).stderr(Stdio::null()).status();
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this system tells what processes use: only Linux does, in `/proc`.
pub(super) fn usage_is_measured() -> bool {
    stat(std::process::id()).is_some()
}

fn spawn(command: &mut Command) -> Result<Child> {
    command.stdin(Stdio::null()).spawn().with_context(|| format!("starting {command:?}"))
}

/// Fields of `/proc/PID/stat` after the name, which may hold blanks: see proc(5).
fn stat(process: u32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}

fn parent(process: u32) -> Option<u32> {
    stat(process)?.get(1)?.parse().ok()
}

/// User and system time of a process. Linux counts it in hundredths of a second.
pub(super) fn cpu_seconds(process: u32) -> f64 {
    let stat = stat(process).unwrap_or_default();
    let ticks = |n: usize| stat.get(n).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}
