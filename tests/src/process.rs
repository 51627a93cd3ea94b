//! Starting a stand-in, and being sure that it ends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Runs the program given as arguments until it ends or standard input closes. The kernel closes the pipe when the test
/// process ends, however it ends, so no stand-in outlives it.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
child=$!
{ cat <&3 >/dev/null; kill -9 "$child" 2>/dev/null; } &
watch=$!
exec 3<&-
wait "$child"
code=$?
kill "$watch" 2>/dev/null
exit "$code"
"#;

/// A running stand-in; ends when dropped or when this process ends.
#[derive(Debug)]
pub(crate) struct Process {
    guard: Child,
    stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `program` and waits until `GET path` on the port answers 200.
    pub(crate) fn start(program: &[String], port: u16, path: &str) -> Result<Self, String> {
        const START_TIMEOUT: Duration = Duration::from_secs(60);
        let line = program.join(" ");
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start sh: {error}"))?;
        let stdin = guard.stdin.take();
        let mut process = Self { guard, stdin };
        let start = Instant::now();
        while !answers(port, path) {
            if let Ok(Some(status)) = process.guard.try_wait() {
                return Err(format!("`{line}` ended with {status} before it was ready"));
            }
            if start.elapsed() > START_TIMEOUT {
                return Err(format!("`{line}` was not ready in {START_TIMEOUT:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(process)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Closes the pipe: the guard kills the program and ends.
        self.stdin = None;
        let _ = self.guard.wait();
    }
}

fn answers(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(&status == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}

/// A port of this machine that is free at this moment. No outgoing connection gets it while the process that listens
/// there is being restarted: Linux takes the ports of those from 32768 on.
///
/// # Panics
///
/// When there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 16_384;
    const COUNT: u32 = 16_384;
    // Test processes that run at the same time begin at different ports.
    let start = std::process::id().wrapping_mul(257);
    let ports = (0..COUNT).map(|_| FIRST + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT);
    let mut ports = ports.filter_map(|port| u16::try_from(port).ok());
    let free = ports.find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    free.unwrap_or_else(|| panic!("no free port on 127.0.0.1"))
}

/// `PREFIX-N` with another N each time, so that tests share a stand-in without meeting.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// What a missing stand-in means: `None` and a line that says why, or, with `REQUIRE_STAND_INS=1`, a panic.
pub(crate) fn found<T>(what: &str, started: Result<T, String>) -> Option<T> {
    match started {
        Ok(part) => Some(part),
        Err(why) => {
            assert!(std::env::var("REQUIRE_STAND_INS").as_deref() != Ok("1"), "{what} is required and missing: {why}");
            eprintln!("skipped, no {what}: {why}");
            None
        }
    }
}

/// What a command prints, trimmed; `None` if it cannot run, fails or prints nothing.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// Builds a binary of the workspace in the profile of this test; returns its path.
pub(crate) fn build(binary: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    // target/PROFILE/deps/test
    let folder = test.ancestors().nth(2).unwrap_or(&test).to_owned();
    let mut build = Command::new(env!("CARGO"));
    // What `cargo test --workspace` has built already, with the same features: a package alone would be built with
    // others.
    build.args(["build", "--quiet", "--workspace", "--bins", "--tests"]);
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    assert!(built.is_ok_and(|status| status.success()), "the workspace with `{binary}` does not build");
    folder.join(format!("{binary}{}", std::env::consts::EXE_SUFFIX))
}
