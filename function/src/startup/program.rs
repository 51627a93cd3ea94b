//! A program with its settings: builds the pipeline and the transports, and serves until the shutdown has ended.

use std::sync::Arc;
use std::time::Duration;

use encoder::Encoder;
use infra::topology::TASKS;
use tokio::net::TcpListener;

use super::auth_settings;
use super::effective_settings::EffectiveSettings;
use super::error::StartError;
use super::models;
use super::shutdown::Shutdown;
use super::tasks::{check_task_names, default_task, task_timeout};
use crate::batch::{Batcher, Limits};
use crate::clients::{Clients, Cloud};
use crate::http::{App, BodyBudget, Readiness, router, serve};
use crate::ledger::Ledger;
use crate::pipeline::Pipeline;
use crate::pull::{Pull, PullError};
use crate::task::AnyTask;
use crate::tasks::{Classify, Embed, Rerank};
use crate::{Config, DeadLetter, Destination, Payloads, Sinks};

/// At the end, how long to wait for publishes that Pub/Sub has not answered yet.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// A program that is ready to serve.
pub(super) struct Program {
    app: Arc<App>,
    /// Runs once before the process reports that it is ready.
    encoder: Option<Arc<Encoder>>,
    pull: Option<Arc<Pull>>,
}

impl From<PullError> for StartError {
    fn from(error: PullError) -> Self {
        Self::setting("PULL_SUBSCRIPTION", &error.subscription, &error)
    }
}

impl Program {
    /// Reads the topology, loads the model and builds the pipeline. `tasks` are the program's own; with `model_tasks`
    /// those of the model are added.
    pub(super) async fn build(
        mut tasks: Vec<Box<dyn AnyTask>>,
        model_tasks: bool,
        workers: usize,
        config: &Config,
    ) -> Result<Self, StartError> {
        let cloud = Cloud::from_env();
        let project = cloud.project.clone();
        let clients = Arc::new(Clients::new(cloud));
        check_task_names(&tasks)?;
        let mut names: Vec<&str> = tasks.iter().map(|task| task.name()).collect();
        names.extend(TASKS.into_iter().filter(|_| model_tasks));
        let settings = EffectiveSettings::read(config, project.as_deref(), clients.is_pubsub_emulated(), &names)?;
        let EffectiveSettings { service, results, ledger, dead_letter_topic, pull } = settings;
        let mut encoder = None;
        if model_tasks {
            let model = Arc::new(models::load(config, &clients).await?);
            let of_model: [Box<dyn AnyTask>; 3] = [
                Box::new(Embed::new(Arc::clone(&model))),
                Box::new(Classify::new(Arc::clone(&model), service.labels.clone())),
                Box::new(Rerank::new(Arc::clone(&model))),
            ];
            for task in of_model {
                if tasks.iter().all(|own| own.name() != task.name()) {
                    tasks.push(task);
                }
            }
            encoder = Some(model);
        }
        let dead_letter = match &dead_letter_topic {
            Some(topic) => Some(
                DeadLetter::new(topic, &clients)
                    .map_err(|error| StartError::setting("DEAD_LETTER_TOPIC", topic, error))?
                    .with_data_in_bucket_of(&results, &clients),
            ),
            None => None,
        };
        let tasks: Arc<[Box<dyn AnyTask>]> = tasks.into();
        let default_task = default_task(&service, &tasks)?;
        let pull = match pull {
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
            workers,
            run_time: task_timeout(config, &service)?,
        };
        let auth = auth_settings::auth(config)?;
        let sinks = Arc::new(Sinks::new(&results, &clients));
        let stale = config.ledger_stale_seconds.map(Duration::from_secs);
        let ledger = Ledger::start(&ledger, &clients, &service, stale, &sinks);
        let batcher = Batcher::start(Arc::clone(&tasks), limits, Arc::clone(&metrics))
            .map_err(StartError::system("starting the batch workers"))?;
        let payloads = Payloads::new(&clients, payload_buckets(config, &results), config.max_payload_bytes);
        let pipeline =
            Pipeline { service, default_task, tasks, batcher, payloads, sinks, ledger, dead_letter, metrics, project };
        let app = App {
            pipeline: Arc::new(pipeline),
            auth,
            body_budget: BodyBudget::new(config.max_body_bytes),
            readiness: Arc::new(Readiness::default()),
            model: encoder.as_ref().map(|encoder| encoder.metadata().name.clone()),
        };
        Ok(Self { app: Arc::new(app), encoder, pull })
    }

    /// Serves requests where there is a listener, and pulls where there is a subscription, until `stop` is ready or
    /// pulling has ended. Then drains: transports accept no more work, what is in flight ends, and results are flushed.
    pub(super) async fn serve(
        self,
        listener: Option<TcpListener>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), StartError> {
        let Self { app, encoder, pull } = self;
        let readiness = Arc::clone(&app.readiness);
        tokio::task::spawn_blocking(move || {
            if let Some(encoder) = encoder {
                encoder.embed(&[encoder.tokenize("ready")]);
            }
            readiness.set_warm();
        });
        let shutdown = Shutdown::new();
        let stopped = async {
            tokio::select! {
                () = stop => {}
                () = shutdown.begun() => {}
            }
            app.readiness.set_draining();
            tracing::info!("draining");
            shutdown.begin();
        };
        let pulled = async {
            let Some(pull) = pull else { return Ok(()) };
            let ended = pull.run(&app.pipeline, shutdown.begun()).await;
            shutdown.begin();
            ended
        };
        let served = async {
            if let Some(listener) = listener {
                serve(listener, router(Arc::clone(&app)), shutdown.begun()).await;
            }
        };
        let ((), pulled, ()) = tokio::join!(stopped, pulled, served);
        if tokio::time::timeout(FLUSH_TIMEOUT, app.pipeline.flush()).await.is_err() {
            tracing::warn!("timed out flushing publishers at shutdown; some results may be published again");
        }
        Ok(pulled?)
    }
}

/// The buckets that claim checks may name: those that are set, else those among the results.
fn payload_buckets(config: &Config, results: &[Destination]) -> Vec<String> {
    config.payload_buckets.clone().unwrap_or_else(|| {
        let bucket = |destination: &Destination| match destination {
            Destination::Bucket { bucket, .. } => Some(bucket.clone()),
            _ => None,
        };
        results.iter().filter_map(bucket).collect()
    })
}
