//! The builder that a `main` uses, and the start and end of the process.

mod callers;
mod declared;
mod model;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use declared::Declared;
use infra::topology::{Service, TASKS};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::batch::{Batcher, Limits};
use crate::cloud::{Clients, Cloud};
use crate::ledger::Ledger;
use crate::pull::{Pull, PullError};
use crate::server::{Bodies, Flow, router, serve};
use crate::task::AnyTask;
use crate::tasks::{Classify, Embed, Rerank};
use crate::{Config, DeadLetter, Destination, Payloads, Sinks, Task, telemetry};
use encoder::Encoder;

/// A program that serves tasks. [`run`](Self::run) reads the command line and the environment, see [`Config`].
#[derive(Default)]
pub struct Function {
    tasks: Vec<Box<dyn AnyTask>>,
    model_tasks: bool,
    workers: usize,
}

/// The process cannot start: a setting or a task that cannot be used, or an address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting: which, its value, and what would be right.
    #[error("{setting} is `{value}`: {why}")]
    Setting {
        /// The environment variable.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The program itself is wrong.
    #[error("{0}")]
    Tasks(String),
    /// The system refuses.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        error: std::io::Error,
    },
}

impl StartError {
    fn setting(setting: &'static str, value: impl Into<String>, why: impl ToString) -> Self {
        Self::Setting { setting, value: value.into(), why: why.to_string() }
    }
}

impl From<PullError> for StartError {
    fn from(error: PullError) -> Self {
        Self::setting("PULL_SUBSCRIPTION", &error.subscription, &error)
    }
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
    /// A topology that is given, with `TOPOLOGY` or beside the executable, must name no task that the program does not have. The
    /// one that the project ships with names the model's tasks: in a program without them, its default task is the first one
    /// added.
    pub fn task(mut self, task: impl Task) -> Self {
        self.tasks.push(Box::new(task));
        self
    }

    /// Runs this many batches at a time, for tasks that wait for something; 1 unless set, which suits tasks that compute.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Serves until SIGTERM or Ctrl-C. The exit code is 0 after a drain, 2 for a setting that cannot be used, 1 for anything
    /// else that prevents the start.
    pub fn run(self) -> ExitCode {
        let config = Config::parse();
        telemetry::start(config.log_format());
        let runtime = runtime().map_err(|error| StartError::System { what: "starting the runtime".to_owned(), error });
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
            return program.serve(None, stopped()).await;
        }
        let address = (config.address(), config.port);
        let listener = TcpListener::bind(address).await.map_err(|error| StartError::System {
            what: format!("listening on {}:{} (HOST, PORT)", address.0, address.1),
            error,
        })?;
        let local = listener
            .local_addr()
            .map_err(|error| StartError::System { what: "reading the address".to_owned(), error })?;
        if config.on_cloud_run() {
            tracing::info!("listening on {local}");
        } else {
            let text = format!("listening on http://{local}; try:\n{}\n", example(&local.to_string()));
            let _ = std::io::stdout().write_all(text.as_bytes()); // nobody may be reading
        }
        program.serve(Some(listener), stopped()).await
    }

    /// Serves on `listener`, and pulls where `config` says so, until `shutdown` is ready, then drains: requests in flight end, within 9 s, and results are
    /// flushed. For tests and for programs with a runtime of their own.
    pub async fn serve(
        self,
        config: Config,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        self.build(&config).await?.serve(Some(listener), shutdown).await
    }

    async fn build(mut self, config: &Config) -> Result<Program, StartError> {
        let cloud = Cloud::from_env();
        let project = cloud.project.clone();
        let clients = Arc::new(Clients::new(cloud));
        check_names(&self.tasks)?;
        let mut names: Vec<&str> = self.tasks.iter().map(|task| task.name()).collect();
        names.extend(TASKS.into_iter().filter(|_| self.model_tasks));
        let declared = Declared::read(config, project.as_deref(), clients.is_pubsub_emulated(), &names)?;
        let service = declared.service;
        let mut encoder = None;
        if self.model_tasks {
            let model = Arc::new(model::load(config, &clients).await?);
            let model_tasks: [Box<dyn AnyTask>; 3] = [
                Box::new(Embed::new(Arc::clone(&model))),
                Box::new(Classify::new(Arc::clone(&model), service.labels.clone())),
                Box::new(Rerank::new(Arc::clone(&model))),
            ];
            for task in model_tasks {
                if self.tasks.iter().all(|own| own.name() != task.name()) {
                    self.tasks.push(task);
                }
            }
            encoder = Some(model);
        }
        let results = declared.results;
        let dead_letter = match &declared.dead_letter_topic {
            Some(topic) => Some(
                DeadLetter::new(topic, &clients)
                    .map_err(|error| StartError::setting("DEAD_LETTER_TOPIC", topic, error))?
                    .with_data_in_bucket_of(&results, &clients),
            ),
            None => None,
        };
        let buckets = config.payload_buckets.clone().unwrap_or_else(|| {
            let bucket = |destination: &Destination| match destination {
                Destination::Bucket { bucket, .. } => Some(bucket.clone()),
                _ => None,
            };
            results.iter().filter_map(bucket).collect()
        });
        let tasks: Arc<[Box<dyn AnyTask>]> = self.tasks.into();
        let default_task = default_task(&service, &tasks)?;
        let pull = match declared.pull {
            Some(subscription) => Some(Arc::new(Pull::start(subscription, &clients, config.max_queue_tokens).await?)),
            None if config.no_http => {
                return Err(StartError::setting(
                    "PULL_SUBSCRIPTION",
                    "",
                    "with --no-http it says where messages come from",
                ));
            }
            None => None,
        };
        let metrics = Arc::default();
        let limits = Limits {
            batch_tokens: config.max_batch_tokens,
            queue_tokens: config.max_queue_tokens,
            wait: Duration::from_millis(config.max_batch_wait_ms),
            workers: self.workers,
            run_time: task_timeout(config, &service)?,
        };
        let auth = callers::check(config)?;
        let sinks = Arc::new(Sinks::new(&results, &clients));
        let stale = config.ledger_stale_seconds.map(Duration::from_secs);
        let ledger = Ledger::start(&declared.ledger, &clients, &service, stale, &sinks);
        let flow = Flow {
            auth,
            batcher: Batcher::start(Arc::clone(&tasks), limits, Arc::clone(&metrics))
                .map_err(|error| StartError::System { what: "starting the batch workers".to_owned(), error })?,
            payloads: Payloads::new(&clients, buckets, config.max_payload_bytes),
            sinks,
            ledger,
            model: encoder.as_ref().map(|encoder| encoder.metadata().name.clone()),
            bodies: Bodies::new(config.max_body_bytes),
            warm: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            default_task,
            dead_letter,
            metrics,
            project,
            service,
            tasks,
        };
        Ok(Program { flow: Arc::new(flow), encoder, pull })
    }
}

/// A [`Function`] with its settings: everything that a message will meet.
struct Program {
    flow: Arc<Flow>,
    /// Runs once before the process says that it is ready.
    encoder: Option<Arc<Encoder>>,
    pull: Option<Arc<Pull>>,
}

impl Program {
    /// Serves requests where there is a listener, and pulls where there is a subscription.
    async fn serve(self, listener: Option<TcpListener>, shutdown: impl Future<Output = ()>) -> Result<(), StartError> {
        let Self { flow, encoder, pull } = self;
        let warm = Arc::clone(&flow);
        tokio::task::spawn_blocking(move || {
            if let Some(encoder) = encoder {
                encoder.embed(&[encoder.tokenize("ready")]);
            }
            warm.warm.store(true, Ordering::Release);
        });
        let (stop, stopping) = watch::channel(false);
        let stopping = || {
            let mut stopping = stopping.clone();
            async move {
                let _ = stopping.wait_for(|stop| *stop).await; // gone is as good
            }
        };
        let shutdown = async {
            tokio::select! {
                () = shutdown => {}
                () = stopping() => {}
            }
            flow.draining.store(true, Ordering::Release);
            tracing::info!("draining");
            let _ = stop.send(true);
        };
        let pulled = async {
            let Some(pull) = pull else { return Ok(()) };
            let ended = pull.run(&flow, stopping()).await;
            let _ = stop.send(true);
            ended
        };
        let served = async {
            if let Some(listener) = listener {
                serve(listener, router(Arc::clone(&flow)), stopping()).await;
            }
        };
        let ((), pulled, ()) = tokio::join!(shutdown, pulled, served);
        if tokio::time::timeout(Duration::from_millis(500), flow.flush()).await.is_err() {
            tracing::warn!("publishers still held results");
        }
        Ok(pulled?)
    }
}

/// Tasks that a program adds: a name each, one that routes, attributes and CloudEvents types can hold.
fn check_names(tasks: &[Box<dyn AnyTask>]) -> Result<(), StartError> {
    for (n, task) in tasks.iter().enumerate() {
        let name = task.name();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
            let why = "a task's name has 1 to 63 lower-case letters, digits and `-`";
            return Err(StartError::Tasks(format!("the task name {name:?} cannot be used: {why}")));
        }
        if tasks.iter().take(n).any(|other| other.name() == name) {
            return Err(StartError::Tasks(format!("two tasks are named `{name}`: rename one of them")));
        }
    }
    Ok(())
}

/// How long a task may run on a batch: so long that a request can still be answered in the service's time.
fn task_timeout(config: &Config, service: &Service) -> Result<Duration, StartError> {
    let declared = service.timeout;
    let Some(milliseconds) = config.task_timeout_ms else {
        return Ok(declared.map_or(Duration::from_secs(60), |timeout| timeout / 2));
    };
    let chosen = Duration::from_millis(milliseconds as u64);
    match declared.filter(|declared| chosen >= *declared) {
        None => Ok(chosen),
        Some(declared) => {
            let why = format!("requests end after the service's declared timeout of {declared:?}; it must be shorter");
            Err(StartError::setting("TASK_TIMEOUT_MS", milliseconds.to_string(), why))
        }
    }
}

/// The service's default task if this program has it, else the program's first.
fn default_task(service: &Service, tasks: &[Box<dyn AnyTask>]) -> Result<String, StartError> {
    let declared = service.task.as_deref().unwrap_or("embed");
    let found = tasks.iter().find(|task| task.name() == declared).or(tasks.first());
    let Some(task) = found else {
        let right = "add one with `Function::task`, or those of the model with `Function::with_model_tasks`";
        return Err(StartError::Tasks(format!("this program has no tasks: {right}")));
    };
    Ok(task.name().to_owned())
}

/// A Pub/Sub push of the text "Pub/Sub carries the work, Rust does it." that gets an embedding.
fn example(address: &str) -> String {
    format!(
        "curl http://{address}/ -H 'content-type: application/json' \
         -d '{{\"message\":{{\"messageId\":\"1\",\"data\":\"UHViL1N1YiBjYXJyaWVzIHRoZSB3b3JrLCBSdXN0IGRvZXMgaXQu\"}}}}'"
    )
}

/// The async runtime of a program: requests, answers and calls to Google Cloud, on half of the CPUs. Tasks run on threads of their
/// own, and more threads here would mostly hand requests to one another: on two CPUs that costs 13 to 29 % more CPU a request.
///
/// # Errors
/// The system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread().worker_threads(cpus.div_ceil(2)).enable_all().build()
}

/// SIGTERM, which Cloud Run and Kubernetes send, or Ctrl-C.
async fn stopped() {
    use tokio::signal;
    let interrupt = async {
        if signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        match signal::unix::signal(signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
