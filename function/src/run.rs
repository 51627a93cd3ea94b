//! The builder that a `main` uses, and the start and end of the process.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use infra::topology::Service;
use tokio::net::TcpListener;

use crate::batch::{Batcher, Bounds};
use crate::cloud::{Clients, Cloud};
use crate::model::Encoder;
use crate::server::{Flow, router, serve};
use crate::task::AnyTask;
use crate::tasks::{Classify, Embed, Rerank};
use crate::{Config, DeadLetter, Destination, Payloads, Sinks, Task, telemetry};

/// A program that serves tasks. [`run`](Self::run) reads the command line and the environment, see [`Config`].
#[derive(Default)]
pub struct Function {
    tasks: Vec<Box<dyn AnyTask>>,
    model_tasks: bool,
    workers: usize,
}

/// The process cannot start: a setting that cannot be used, or an address that cannot be listened on.
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

    /// Adds a task.
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
        let runtime = tokio::runtime::Runtime::new()
            .map_err(|error| StartError::System { what: "starting the runtime".to_owned(), error });
        match runtime.and_then(|runtime| runtime.block_on(self.listen(config))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::from(if matches!(error, StartError::Setting { .. }) { 2 } else { 1 })
            }
        }
    }

    async fn listen(self, config: Config) -> Result<(), StartError> {
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
            println!("listening on http://{local}; try:\n{}", example(&local.to_string()));
        }
        self.serve(config, listener, stopped()).await
    }

    /// Serves on `listener` until `shutdown` is ready, then drains: requests in flight end, results are flushed.
    pub async fn serve(
        self,
        config: Config,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let (flow, warm_up) = self.build(&config)?;
        let flow = Arc::new(flow);
        let ready = Arc::clone(&flow);
        tokio::task::spawn_blocking(move || {
            warm_up();
            ready.set_ready(true);
        });
        let draining = Arc::clone(&flow);
        let shutdown = async move {
            shutdown.await;
            draining.set_ready(false);
            tracing::info!("draining");
        };
        serve(listener, router(Arc::clone(&flow)), shutdown).await;
        if tokio::time::timeout(Duration::from_millis(500), flow.flush()).await.is_err() {
            tracing::warn!("publishers still held results");
        }
        Ok(())
    }

    /// Everything that a message will meet, and what makes it quick for the first one.
    fn build(mut self, config: &Config) -> Result<(Flow, impl FnOnce() + Send + 'static), StartError> {
        let service = service(config)?;
        let mut encoder = None;
        if self.model_tasks {
            let model = Arc::new(load(config)?);
            self.tasks.push(Box::new(Embed::new(Arc::clone(&model))));
            self.tasks.push(Box::new(Classify::new(Arc::clone(&model), Vec::new())));
            self.tasks.push(Box::new(Rerank::new(Arc::clone(&model))));
            encoder = Some(model);
        }
        let cloud = Cloud::from_env();
        let project = cloud.project.clone();
        let clients = Arc::new(Clients::new(cloud));
        let results = config.results.clone().unwrap_or_else(|| vec![Destination::Response]);
        let dead_letter = match &config.dead_letter_topic {
            Some(topic) => Some(
                DeadLetter::new(topic, &clients)
                    .map_err(|error| StartError::setting("DEAD_LETTER_TOPIC", topic, error))?,
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
        let metrics = Arc::default();
        let bounds = Bounds {
            batch_tokens: config.max_batch_tokens,
            queue_tokens: config.max_queue_tokens,
            wait: Duration::from_millis(config.max_batch_wait_ms),
            workers: self.workers,
        };
        let tasks: Arc<[Box<dyn AnyTask>]> = self.tasks.into();
        let flow = Flow {
            batcher: Batcher::start(Arc::clone(&tasks), bounds, Arc::clone(&metrics))
                .map_err(|error| StartError::System { what: "starting the batch workers".to_owned(), error })?,
            payloads: Payloads::new(&clients, buckets, config.max_payload_bytes),
            sinks: Sinks::new(&results, &clients),
            model: encoder.as_ref().map(|encoder| encoder.about().name.clone()),
            max_body_bytes: config.max_body_bytes,
            ready: AtomicBool::new(false),
            dead_letter,
            metrics,
            project,
            service,
            tasks,
        };
        let warm_up = move || {
            if let Some(encoder) = encoder {
                encoder.embed(&[encoder.tokenize("ready")]);
            }
        };
        Ok((flow, warm_up))
    }
}

fn service(config: &Config) -> Result<Service, StartError> {
    let _ = config;
    Ok(Service::new("ai-workloads-function"))
}

fn load(config: &Config) -> Result<Encoder, StartError> {
    let encoder = match config.model.as_str() {
        "embedded" => Encoder::embedded(),
        directory => Encoder::from_directory(Path::new(directory)),
    };
    let encoder = encoder.map_err(|error| {
        let right = "it is `embedded` or a directory with model.safetensors, tokenizer.json and config.json";
        StartError::setting("MODEL", &config.model, format!("{error}; {right}"))
    })?;
    Ok(encoder.with_threads(config.threads()))
}

/// A Pub/Sub push of the text "Pub/Sub carries the work, Rust does it." that gets an embedding.
fn example(address: &str) -> String {
    format!(
        "curl http://{address}/ -H 'content-type: application/json' \
         -d '{{\"message\":{{\"messageId\":\"1\",\"data\":\"UHViL1N1YiBjYXJyaWVzIHRoZSB3b3JrLCBSdXN0IGRvZXMgaXQu\"}}}}'"
    )
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
