//! Other software that does the same work, installed from PyPI into a virtual environment under `target/bench`.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::measure::progress;
use super::server::{Server, free_port};
use crate::topology::root;

const REQUIREMENTS: [&str; 4] = ["onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6", "functions-framework==3.10.2"];

/// Creates the virtual environment, once for each set of [`REQUIREMENTS`]; returns its folder of programs.
fn environment() -> Result<PathBuf> {
    let folder = root().join("target/bench");
    let (venv, mark) = (folder.join("venv"), folder.join("venv/requirements.txt"));
    let wanted = REQUIREMENTS.join("\n");
    if std::fs::read_to_string(&mark).ok().as_deref() != Some(wanted.as_str()) {
        progress("taking the peers from PyPI");
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        run_quietly(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run_quietly(
            Command::new(venv.join("bin/python")).args(["-m", "pip", "install", "--quiet"]).args(REQUIREMENTS),
        )?;
        std::fs::write(&mark, wanted).with_context(|| format!("writing {}", mark.display()))?;
    }
    Ok(venv.join("bin"))
}

/// Runs a command without output; the last line of its standard error becomes the error.
fn run_quietly(command: &mut Command) -> Result<()> {
    let line = format!("{command:?}");
    let output = command.output().with_context(|| format!("running {line}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{line} failed: {}", errors.lines().last().unwrap_or("no reason given"));
    Ok(())
}

/// Writes a script that is compiled into this program to a file, for Python.
fn script(name: &str, text: &str) -> Result<PathBuf> {
    let path = root().join("target/bench").join(name);
    std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// ONNX Runtime on the original weights, in a process that answers one request at a time: see `peers/encoder.py`.
pub(super) struct OnnxRuntime {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Its version and settings.
    pub(super) description: String,
}

impl OnnxRuntime {
    pub(super) fn start() -> Result<Self> {
        let python = environment()?.join("python");
        let model = crate::original_model::original()?;
        let script = script("encoder.py", include_str!("peers/encoder.py"))?;
        progress("building ONNX Runtime's graph");
        let mut child = Command::new(python)
            .args([&script, &model, &root().join("target/bench/onnx")])
            .env_remove("OPENBLAS_CORETYPE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the Python of target/bench/venv")?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("Python has no pipes");
        };
        let mut peer = Self { child, requests, answers: BufReader::new(answers), description: String::new() };
        let start = peer.answer().with_context(|| {
            let command = format!("target/bench/venv/bin/python {} {} /tmp/onnx", script.display(), model.display());
            format!("ONNX Runtime did not start; `{command}` shows why")
        })?;
        peer.description = format!(
            "ONNX Runtime {} int8, weights per channel in {} range, Attention and BiasGelu fused",
            start["version"].as_str().unwrap_or("?"),
            start["range"].as_str().unwrap_or("?"),
        );
        Ok(peer)
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("reading from ONNX Runtime's process")?;
        ensure!(!line.is_empty(), "ONNX Runtime's process ended");
        serde_json::from_str(&line).with_context(|| format!("ONNX Runtime's process answered {line:?}"))
    }

    fn ask(&mut self, request: &Value) -> Result<Value> {
        writeln!(self.requests, "{request}").context("writing to ONNX Runtime's process")?;
        self.answer()
    }

    /// Hands over a workload, under a name.
    pub(super) fn load(&mut self, name: &str, batches: &[Vec<Vec<u32>>]) -> Result<()> {
        self.ask(&json!({"load": name, "batches": batches})).map(drop)
    }

    /// Runs a workload; returns how many seconds it took.
    pub(super) fn run(&mut self, name: &str, threads: usize) -> Result<f64> {
        let answer = self.ask(&json!({"run": name, "threads": threads, "precision": "int8"}))?;
        answer["seconds"].as_f64().with_context(|| format!("no seconds in {answer}"))
    }

    /// Runs a workload; returns its embeddings, one row per text.
    pub(super) fn embed(&mut self, name: &str) -> Result<Vec<Vec<f32>>> {
        let mut answer = self.ask(&json!({"embed": name, "threads": 1, "precision": "int8"}))?;
        serde_json::from_value(answer["embeddings"].take()).context("the embeddings of ONNX Runtime")
    }
}

impl Drop for OnnxRuntime {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// functions-framework on a free port, with its own production server, a worker process for each CPU.
pub(super) fn functions_framework() -> Result<Server> {
    let programs = environment()?;
    let handler = script("handler.py", include_str!("peers/handler.py"))?;
    let port = free_port()?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let mut command = Command::new(programs.join("functions-framework"));
    command.arg("--source").arg(handler).args(["--target", "handle", "--port", &port.to_string()]);
    command.env("WORKERS", cpus.to_string()).env_remove("K_SERVICE");
    Server::start_on(command, port)
}
