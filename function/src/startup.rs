//! The builder that a `main` uses, and the start and end of the process.
//!
//! # Layout
//!
//! - `program`: everything put together, served, and shut down
//! - `effective_settings`: what the topology declares for this process, and what the settings say instead
//! - `auth_settings`: the caller check that the settings `AUTH_…` ask for
//! - `models`: the encoder that the setting `MODEL` names
//! - `tasks`: names of tasks, the default one, and how long they may run
//! - `shutdown`: the stop signal
//! - `error`: why the process cannot start

mod auth_settings;
mod effective_settings;
mod error;
mod models;
mod program;
mod shutdown;
mod tasks;

use std::io::Write;
use std::process::ExitCode;

use tokio::net::TcpListener;

use crate::task::AnyTask;
use crate::{Config, Task, telemetry};
pub use error::StartError;
use program::Program;
use shutdown::stop_signal;

/// A program that serves tasks. [`run`](Self::run) reads the command line and the environment, see [`Config`].
#[derive(Default)]
pub struct Function {
    tasks: Vec<Box<dyn AnyTask>>,
    model_tasks: bool,
    workers: usize,
}

impl Function {
    /// Without tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `embed`, `classify` and `rerank` on the configured model.
    pub fn with_model_tasks(mut self) -> Self {
        self.model_tasks = true;
        self
    }

    /// Adds a task. It replaces one of the same name that comes from [`with_model_tasks`](Self::with_model_tasks).
    ///
    /// A topology that is given, with `TOPOLOGY` or beside the executable, must name no task that the program does not
    /// have. The one that the project ships with names the model's tasks: in a program without them, its default task
    /// is the first one added.
    pub fn task(mut self, task: impl Task) -> Self {
        self.tasks.push(Box::new(task));
        self
    }

    /// Runs this many batches at a time, for tasks that wait for something; 1 unless set, which suits tasks that
    /// compute.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Serves until SIGTERM or Ctrl-C. The exit code is 0 after a drain, 2 for a setting that cannot be used, 1 for
    /// anything else that prevents the start.
    pub fn run(self) -> ExitCode {
        let (config, ignored_host) = Config::read();
        telemetry::start(config.log_format());
        if let Some(host) = ignored_host {
            tracing::warn!(host, "ignoring the variable HOST: expected an IP address");
        }
        let runtime = runtime().map_err(StartError::system("starting the runtime"));
        let ended = runtime.and_then(|runtime| {
            let ended = runtime.block_on(self.listen(config));
            runtime.shutdown_background(); // work that outlasts the drain must not outlast the process
            ended
        });
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(if matches!(error, StartError::Setting { .. }) { 2 } else { 1 })
            }
        }
    }

    async fn listen(self, config: Config) -> Result<(), StartError> {
        let program = self.build(&config).await?;
        if config.no_http {
            return program.serve(None, stop_signal()).await;
        }
        let (host, port) = (config.address(), config.port);
        let listener = TcpListener::bind((host, port))
            .await
            .map_err(StartError::system(format!("listening on {host}:{port} (HOST, PORT)")))?;
        let local = listener.local_addr().map_err(StartError::system("reading the address"))?;
        if config.on_cloud_run() {
            tracing::info!("listening on {local}");
        } else {
            let text = format!("listening on http://{local}; try:\n{}\n", example(&local.to_string()));
            let _ = std::io::stdout().write_all(text.as_bytes()); // it may be closed
        }
        program.serve(Some(listener), stop_signal()).await
    }

    /// Serves on `listener`, and pulls where `config` says so, until `shutdown` is ready, then drains: requests in
    /// flight have 9 s to end, and results are flushed. For tests and for programs with a runtime of their own.
    ///
    /// # Errors
    /// A setting or a task cannot be used, or Pub/Sub refuses to let this process pull.
    pub async fn serve(
        self,
        config: Config,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        self.build(&config).await?.serve(Some(listener), shutdown).await
    }

    async fn build(self, config: &Config) -> Result<Program, StartError> {
        Program::build(self.tasks, self.model_tasks, self.workers, config).await
    }
}

/// A Pub/Sub push of the text "Pub/Sub carries the work, Rust does it." that gets an embedding.
fn example(address: &str) -> String {
    format!(
        "curl http://{address}/ -H 'content-type: application/json' \
         -d '{{\"message\":{{\"messageId\":\"1\",\"data\":\"UHViL1N1YiBjYXJyaWVzIHRoZSB3b3JrLCBSdXN0IGRvZXMgaXQu\"}}}}'"
    )
}

/// The async runtime of a program: requests, responses and calls to Google Cloud, on half of the CPUs. Tasks run on
/// threads of their own, and more threads here would mostly hand requests to one another: on two CPUs that costs 13 to
/// 29 % more CPU a request.
///
/// # Errors
/// The system has no threads left.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cpus.div_ceil(2)).enable_all().build()
}
