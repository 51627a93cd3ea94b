//! One message from event to outcome, whichever transport delivered it.
//!
//! ```text
//! route ─▶ admit ─▶ accept ─▶ claim ─▶ run ─▶ deliver ─▶ settle
//! ```
//!
//! | step | what it does |
//! |---|---|
//! | route | picks the task: the first matching rule, the attribute `task`, the default |
//! | admit | asks the ledger whether this process has done the work, or is doing it |
//! | accept | fetches the payload if it is a claim check; the task reads it and says what it costs |
//! | claim | writes the claim that other processes see, right before the work |
//! | run | queues the work until a batch with it has run |
//! | deliver | sends the result to every destination; completes the claim |
//! | settle | publishes a rejected message to the dead-letter topic; releases a claim without a result |
//!
//! | step | how it can end the pass before the result |
//! |---|---|
//! | route | Rejected: no such task, too many hops |
//! | admit, claim | Done for a duplicate; Retry while another delivery is in progress, or if the ledger does not answer |
//! | accept | Rejected: a payload that cannot be used; Retry if the storage fails |
//! | run | Overloaded if the queue is full; the outcome of the task, if it is not Done |
//! | deliver | Retry; Rejected if no destination can ever take the result |
//! | settle | Retry if the dead letter cannot be published |
//!
//! HTTP and pull call the same entry point, `Pipeline::process`, and translate its outcome: HTTP into a status, pull
//! into an acknowledgement. Nothing here knows either; what a transport knows about a trace arrives as a value,
//! `TraceContext`.
//!
//! # Layout
//!
//! - `route`: the declared rules that pick a task
//! - `accept`: the payload, and the task's reading of it
//! - `queue_permits`: queue capacity for transports that can wait for it
//! - `result_event`: a result as the CloudEvent that a response holds
//! - `trace`: the trace that the log names

mod accept;
mod queue_permits;
mod result_event;
mod route;
mod trace;

use std::ops::ControlFlow::{self, Break, Continue};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use infra::topology::Service;

use crate::batch::Batcher;
use crate::ledger::{Admission, Duplicate, Ledger, Settlement, WorkPermit};
use crate::task::AnyTask;
use crate::telemetry::Metrics;
use crate::{DeadLetter, Message, Outcome, Payloads, Sinks, TaskResult};
use accept::accept;
pub(crate) use queue_permits::QueuePermits;
pub(crate) use result_event::ResultEvent;
use route::{hops, route};
pub(crate) use trace::TraceContext;

/// Everything that takes a message from event to outcome.
pub(crate) struct Pipeline {
    pub(crate) service: Service,
    /// For messages that neither a rule nor an attribute sends to a task; one of `tasks`.
    pub(crate) default_task: String,
    pub(crate) tasks: Arc<[Box<dyn AnyTask>]>,
    pub(crate) batcher: Batcher,
    pub(crate) payloads: Payloads,
    pub(crate) sinks: Arc<Sinks>,
    /// `None` where a second execution has no effect: results go into the response alone.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) dead_letter: Option<DeadLetter>,
    pub(crate) metrics: Arc<Metrics>,
    /// The project that trace ids belong to.
    pub(crate) project: Option<String>,
}

/// What a transport does when the queue is full.
#[derive(Clone, Copy)]
pub(crate) enum WhenFull<'a> {
    /// It can tell the sender to come back: the outcome is `Overloaded`, at once.
    Refuse,
    /// It asked for the message itself, and waits for capacity.
    Wait(&'a QueuePermits),
}

/// A message at the end of the pipeline.
pub(crate) struct Processed {
    pub(crate) outcome: Outcome,
    /// A rejected message is in the dead-letter topic.
    pub(crate) dead_lettered: bool,
    /// The result, where `response` is among the destinations and the result is available.
    pub(crate) response: Option<ResultEvent>,
}

/// How far a message got between admission and settlement.
struct TaskRun {
    outcome: Outcome,
    response: Option<ResultEvent>,
    /// The hold on work that ended without a result, to be given up when the message is settled.
    permit: Option<WorkPermit>,
    /// For a duplicate: who recognised it, `process` or `ledger`.
    found_in: Option<&'static str>,
}

impl TaskRun {
    /// Work that ended without a result.
    fn unfinished(outcome: Outcome, permit: Option<WorkPermit>) -> Self {
        Self { outcome, response: None, permit, found_in: None }
    }
}

impl From<Outcome> for TaskRun {
    fn from(outcome: Outcome) -> Self {
        Self::unfinished(outcome, None)
    }
}

impl Pipeline {
    pub(crate) fn service_name(&self) -> &str {
        &self.service.name
    }

    pub(crate) fn task_names(&self) -> Vec<&str> {
        self.tasks.iter().map(|task| task.name()).collect()
    }

    /// Waits for the publishes that have not been answered yet.
    pub(crate) async fn flush(&self) {
        self.sinks.flush().await;
        if let Some(dead_letter) = &self.dead_letter {
            dead_letter.flush().await;
        }
    }

    /// Takes a message to its outcome, and logs and counts it once.
    pub(crate) async fn process(
        &self,
        message: &Message,
        trace: TraceContext<'_>,
        when_full: WhenFull<'_>,
    ) -> Processed {
        let start = Instant::now();
        let task = route(&self.service, &self.tasks, &self.default_task, message);
        let name = task.as_ref().map_or("", |&task| self.tasks[task].name());
        let run = match task {
            Ok(task) => match self.admit(name, message).await {
                Continue(permit) => self.run(task, name, message, permit, when_full).await,
                Break(run) => run,
            },
            Err(rejected) => rejected.into(),
        };
        let found_in = run.found_in;
        let processed = self.settle(message, run).await;
        self.record(name, message, trace, &processed, found_in, start.elapsed());
        processed
    }

    /// Asks the ledger. `Break` is a message that is not run: a duplicate, or one whose other delivery is in
    /// progress.
    async fn admit(&self, name: &str, message: &Message) -> ControlFlow<TaskRun, Option<WorkPermit>> {
        let Some(ledger) = &self.ledger else { return Continue(None) };
        self.admitted(name, message, ledger.admit(name, message).await)
    }

    /// Claims the work among processes, where they share a ledger.
    async fn claim(
        &self,
        name: &str,
        message: &Message,
        permit: Option<WorkPermit>,
    ) -> ControlFlow<TaskRun, Option<WorkPermit>> {
        let Some(permit) = permit else { return Continue(None) };
        self.admitted(name, message, permit.claim(name, message).await)
    }

    fn admitted(
        &self,
        name: &str,
        message: &Message,
        admission: Admission,
    ) -> ControlFlow<TaskRun, Option<WorkPermit>> {
        match admission {
            Admission::Proceed(permit) => Continue(Some(permit)),
            Admission::Duplicate(duplicate) => Break(self.duplicate(name, message, duplicate)),
            Admission::Busy(outcome) => Break(outcome.into()),
        }
    }

    /// The outcome of a message whose result is out: Done, with that result where the response holds results and this
    /// process still has it.
    fn duplicate(&self, name: &str, message: &Message, duplicate: Duplicate) -> TaskRun {
        self.metrics.repeat(duplicate.found_in);
        let body = duplicate.done.body.filter(|_| self.sinks.responds());
        let response = body.clone().map(|body| {
            let time = duplicate.done.time;
            ResultEvent::of(&TaskResult { time, ..TaskResult::new(name, self.service_name(), message, body) })
        });
        let outcome = Outcome::Done(body.unwrap_or_default());
        TaskRun { outcome, response, permit: None, found_in: Some(duplicate.found_in) }
    }

    /// Accept, claim, run, deliver. The claim comes as late as possible: the time after which another process may take
    /// it over runs from here, and a message that is refused costs no call to the ledger.
    async fn run(
        &self,
        task: usize,
        name: &str,
        message: &Message,
        permit: Option<WorkPermit>,
        when_full: WhenFull<'_>,
    ) -> TaskRun {
        // A full queue refuses before it costs anything to find out what the message costs.
        if let WhenFull::Refuse = when_full
            && let Some(refusal) = self.batcher.refusal()
        {
            return TaskRun::unfinished(refusal, permit);
        }
        // Held until the message has its outcome, as are the tokens of the queue below.
        let _released = self.batcher.hold_back(message).await;
        let work = match accept(&self.payloads, &self.tasks, task, message).await {
            Ok(work) => work,
            Err(outcome) => return TaskRun::unfinished(outcome, permit),
        };
        let _queue_tokens = match when_full {
            WhenFull::Wait(permits) => permits.acquire(work.cost).await,
            WhenFull::Refuse => None,
        };
        let permit = match self.claim(name, message, permit).await {
            Continue(permit) => permit,
            Break(run) => return run,
        };
        match self.batcher.submit(task, work, message.delivery_attempt).await {
            Outcome::Done(body) => self.deliver(name, message, body, permit).await,
            outcome => TaskRun::unfinished(outcome, permit),
        }
    }

    /// Delivers a result to every destination and completes its claim, whether or not the sender still waits: if a
    /// delivery could be cut short, nothing could tell afterwards which destinations have the result.
    async fn deliver(&self, name: &str, message: &Message, body: Bytes, permit: Option<WorkPermit>) -> TaskRun {
        let outcome = Outcome::Done(body.clone());
        let Some(permit) = permit else {
            let result = TaskResult::new(name, self.service_name(), message, body);
            let response = self.sinks.responds().then(|| ResultEvent::of(&result));
            return TaskRun { response, ..outcome.into() };
        };
        let hops = self.service.hop_limit.map(|_| hops(message).saturating_add(1));
        let (name, service, message) = (name.to_owned(), self.service_name().to_owned(), message.clone());
        let sinks = Arc::clone(&self.sinks);
        let delivery = tokio::spawn(async move {
            let result = TaskResult { hops, ..TaskResult::new(&name, &service, &message, body) };
            if let Err(error) = sinks.deliver(&result).await {
                tracing::error!(message_id = message.id, %error, "result not delivered");
                return TaskRun::unfinished(error.outcome(), Some(permit));
            }
            let response = sinks.responds().then(|| ResultEvent::of(&result));
            permit.settle(Settlement::Published(&result)).await;
            TaskRun { response, ..outcome.into() }
        });
        delivery.await.unwrap_or_else(|_| Outcome::retry("this instance is shutting down").into())
    }

    /// Dead-letters a rejected message, then gives up the hold on work that has no result.
    async fn settle(&self, message: &Message, run: TaskRun) -> Processed {
        let (outcome, dead_lettered) = self.dead_letter(message, run.outcome).await;
        if let Some(permit) = run.permit {
            permit.settle(Settlement::Ended(&outcome)).await;
        }
        Processed { outcome, dead_lettered, response: run.response }
    }

    /// Publishes a rejected message to the dead-letter topic, where there is one. `true`: it is there. A publish that
    /// fails makes the outcome a Retry, so that the message is redelivered.
    async fn dead_letter(&self, message: &Message, outcome: Outcome) -> (Outcome, bool) {
        let (Outcome::Rejected { reason, detail }, Some(dead_letter)) = (&outcome, &self.dead_letter) else {
            return (outcome, false);
        };
        // Boxed: the client's futures have kilobytes, and every message would carry their size.
        match Box::pin(dead_letter.publish(message, reason, detail, self.service_name())).await {
            Ok(()) => (outcome, true),
            Err(error) => {
                tracing::error!(message_id = message.id, %error, "dead letter not published");
                (Outcome::retry("the rejected message could not be dead-lettered; it will be tried again"), false)
            }
        }
    }

    /// One line in the log and one count for each message.
    fn record(
        &self,
        task: &str,
        message: &Message,
        trace: TraceContext<'_>,
        processed: &Processed,
        repeated: Option<&'static str>,
        elapsed: Duration,
    ) {
        let Processed { outcome, dead_lettered, .. } = processed;
        let (seconds, message_id) = (elapsed.as_secs_f64(), message.id.as_str());
        self.metrics.message(task, outcome.as_str(), seconds);
        let ids = trace.ids(message, self.project.as_deref());
        let (trace, span_id) =
            (ids.as_ref().map(|ids| ids.trace.as_str()), ids.as_ref().map(|ids| ids.span_id.as_str()));
        let (outcome, detail, ms) = (outcome.as_str(), outcome.detail(), (seconds * 1e6).round() / 1e3);
        match detail {
            None => tracing::info!(task, message_id, outcome, repeated, ms, trace, span_id, "message"),
            Some(detail) => {
                tracing::warn!(task, message_id, outcome, detail, dead_lettered, ms, trace, span_id, "message");
            }
        }
    }
}
