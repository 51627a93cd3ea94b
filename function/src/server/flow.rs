//! One message's way from event to outcome, however it arrived: route, payload, task, sinks, dead letter.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use axum::http::HeaderMap;
use bytes::Bytes;
use infra::topology::Service;

use super::answer::Reply;
use super::body::Bodies;
use crate::auth::Auth;
use crate::batch::Batcher;
use crate::ledger::{Admission, Duplicate, Ledger, WorkPermit};
use crate::pull::QueuePermits;
use crate::route::{hops, route};
use crate::task::{AnyInput, AnyTask, Work};
use crate::telemetry::Metrics;
use crate::{DeadLetter, Message, Outcome, Payloads, Sinks, TaskResult};

/// Payloads up to this size are accepted on the async runtime; larger ones would hold it up.
const SMALL_PAYLOAD: usize = 64 << 10;

/// Everything that a message meets on its way.
pub(crate) struct Flow {
    /// Who may post events; `None` is anybody.
    pub(crate) auth: Option<Auth>,
    pub(crate) service: Service,
    /// For messages that neither a rule nor an attribute sends to a task; one of `tasks`.
    pub(crate) default_task: String,
    pub(crate) tasks: Arc<[Box<dyn AnyTask>]>,
    pub(crate) batcher: Batcher,
    pub(crate) payloads: Payloads,
    pub(crate) sinks: Arc<Sinks>,
    /// `None` where nothing could be done twice.
    pub(crate) ledger: Option<Arc<Ledger>>,
    pub(crate) dead_letter: Option<DeadLetter>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) bodies: Bodies,
    /// The project that trace ids belong to.
    pub(crate) project: Option<String>,
    /// Name of the model, where there is one.
    pub(crate) model: Option<String>,
    /// The model has run once.
    pub(crate) warm: AtomicBool,
    /// The stop signal has come.
    pub(crate) draining: AtomicBool,
}

/// What became of a message, and what is there to tell its sender.
pub(crate) struct Handled {
    pub(crate) outcome: Outcome,
    /// A rejected message is in the dead-letter topic.
    pub(crate) dead_lettered: bool,
    /// There if the result is to be the answer's body.
    result: Option<Reply>,
}

/// A message's way through its task.
struct Worked {
    outcome: Outcome,
    /// There if the result is to be the answer's body.
    result: Option<Reply>,
    /// The hold on work that has ended without a result.
    permit: Option<WorkPermit>,
    /// Who knew that the work was done before.
    repeated: Option<&'static str>,
}

impl From<Outcome> for Worked {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, result: None, permit: None, repeated: None }
    }
}

impl Flow {
    pub(crate) fn is_ready(&self) -> bool {
        self.warm.load(Ordering::Acquire) && !self.is_draining()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn service_name(&self) -> &str {
        &self.service.name
    }

    pub(crate) fn task_names(&self) -> Vec<&str> {
        self.tasks.iter().map(|task| task.name()).collect()
    }

    /// Waits for what publishers still hold.
    pub(crate) async fn flush(&self) {
        self.sinks.flush().await;
        if let Some(dead_letter) = &self.dead_letter {
            dead_letter.flush().await;
        }
    }

    /// The answer to a message that came in a request.
    pub(super) async fn answer(&self, headers: &HeaderMap, message: &Message) -> Reply {
        let Handled { outcome, dead_lettered, result } = self.handle(headers, message, None).await;
        result.unwrap_or_else(|| Reply::new(outcome, &message.id, dead_lettered))
    }

    /// Takes a message to its end and logs it in one line. `headers` may tell the trace that it belongs to. With `queue_permits`
    /// its work waits there instead of being refused by a full queue.
    pub(crate) async fn handle(
        &self,
        headers: &HeaderMap,
        message: &Message,
        queue_permits: Option<&QueuePermits>,
    ) -> Handled {
        let start = Instant::now();
        let task = route(&self.service, &self.tasks, &self.default_task, message);
        let name = task.as_ref().map_or("", |&task| self.tasks[task].name());
        let Worked { outcome, result, permit, repeated } = match task {
            Ok(task) => self.work(task, name, message, queue_permits).await,
            Err(outcome) => outcome.into(),
        };
        let (outcome, dead_lettered) = self.bury(message, outcome).await;
        if let Some(permit) = permit {
            permit.release(&outcome).await;
        }
        let word = outcome.word();
        let seconds = start.elapsed().as_secs_f64();
        self.metrics.message(name, word, seconds);
        let (trace, span_id) = trace(headers, message, self.project.as_deref());
        let known = |text| Some(text).filter(|text: &&str| !text.is_empty());
        let (trace, span_id) = (known(trace.as_str()), known(span_id.as_str()));
        let (id, ms) = (message.id.as_str(), (seconds * 1e6).round() / 1e3);
        match outcome.detail() {
            None => {
                tracing::info!(task = name, message_id = id, outcome = word, repeated, ms, trace, span_id, "message")
            }
            Some(detail) => {
                tracing::warn!(
                    task = name,
                    message_id = id,
                    outcome = word,
                    detail,
                    dead_lettered,
                    ms,
                    trace,
                    span_id,
                    "message"
                );
            }
        }
        Handled { outcome, dead_lettered, result }
    }

    /// Runs the task and delivers the result, unless that was done before.
    async fn work(&self, task: usize, name: &str, message: &Message, queue_permits: Option<&QueuePermits>) -> Worked {
        let permit = match &self.ledger {
            Some(ledger) => match ledger.admit(name, message).await {
                Admission::Proceed(permit) => Some(permit),
                Admission::Duplicate(duplicate) => return self.duplicate(name, message, duplicate),
                Admission::Busy(outcome) => return outcome.into(),
            },
            None => None,
        };
        // A full queue refuses before it costs anything to know what the message costs.
        if queue_permits.is_none()
            && let Some(refusal) = self.batcher.refusal()
        {
            return Worked { permit, ..refusal.into() };
        }
        let _released = self.batcher.hold_back(message).await;
        let work = match self.accept(task, message).await {
            Ok(work) => work,
            Err(outcome) => return Worked { permit, ..outcome.into() },
        };
        let _held = match queue_permits {
            Some(queue_permits) => queue_permits.acquire(work.cost).await,
            None => None,
        };
        let permit = match permit {
            Some(permit) => match permit.claim(name, message).await {
                Admission::Proceed(permit) => Some(permit),
                Admission::Duplicate(duplicate) => return self.duplicate(name, message, duplicate),
                Admission::Busy(outcome) => return outcome.into(),
            },
            None => None,
        };
        match self.batcher.submit(task, work, message.delivery_attempt).await {
            Outcome::Done(body) => self.deliver(name, message, body, permit).await,
            outcome => Worked { permit, ..outcome.into() },
        }
    }

    /// The answer to a message whose result is out: that result, where the answer is to hold it and it is still known.
    fn duplicate(&self, name: &str, message: &Message, duplicate: Duplicate) -> Worked {
        self.metrics.repeat(duplicate.found_in);
        let body = duplicate.done.body.filter(|_| self.sinks.responds());
        let result = body.clone().map(|body| {
            let time = duplicate.done.time;
            Reply::result(&TaskResult { time, ..TaskResult::new(name, self.service_name(), message, body) })
        });
        let outcome = Outcome::Done(body.unwrap_or_default());
        Worked { result, repeated: Some(duplicate.found_in), ..outcome.into() }
    }

    /// Delivers a result to its end, whether or not the sender waits for it: where it was cut short nobody could tell what is out.
    async fn deliver(&self, name: &str, message: &Message, body: Bytes, permit: Option<WorkPermit>) -> Worked {
        let outcome = Outcome::Done(body.clone());
        let Some(permit) = permit else {
            let result = TaskResult::new(name, self.service_name(), message, body);
            let result = self.sinks.responds().then(|| Reply::result(&result));
            return Worked { result, ..outcome.into() };
        };
        let hops = self.service.hop_limit.map(|_| hops(message).saturating_add(1));
        let (name, service, message) = (name.to_owned(), self.service_name().to_owned(), message.clone());
        let sinks = Arc::clone(&self.sinks);
        let delivery = tokio::spawn(async move {
            let result = TaskResult { hops, ..TaskResult::new(&name, &service, &message, body) };
            if let Err(error) = sinks.deliver(&result).await {
                tracing::error!(message_id = message.id, %error, "result not delivered");
                return Worked { permit: Some(permit), ..error.outcome().into() };
            }
            let reply = sinks.responds().then(|| Reply::result(&result));
            permit.complete(&result).await;
            Worked { result: reply, ..outcome.into() }
        });
        delivery.await.unwrap_or_else(|_| Outcome::retry("this instance is shutting down").into())
    }

    async fn accept(&self, task: usize, message: &Message) -> Result<Work<AnyInput>, Outcome> {
        let message = self.payloads.resolve(message).await?;
        if message.data.len() <= SMALL_PAYLOAD {
            return accept(&*self.tasks[task], &message);
        }
        let (tasks, message) = (Arc::clone(&self.tasks), message.into_owned());
        tokio::task::spawn_blocking(move || accept(&*tasks[task], &message))
            .await
            .unwrap_or_else(|_| Err(Outcome::retry("this instance is shutting down")))
    }

    /// Publishes a rejected message to the dead-letter topic, if there is one; without success it comes again.
    async fn bury(&self, message: &Message, outcome: Outcome) -> (Outcome, bool) {
        let (Outcome::Rejected { reason, detail }, Some(dead_letter)) = (&outcome, &self.dead_letter) else {
            return (outcome, false);
        };
        // Apart: the client's futures have kilobytes, and every message would carry room for them.
        match Box::pin(dead_letter.publish(message, reason, detail, self.service_name())).await {
            Ok(()) => (outcome, true),
            Err(error) => {
                tracing::error!(message_id = message.id, %error, "dead letter not published");
                (Outcome::retry("the rejected message could not be dead-lettered; it will be tried again"), false)
            }
        }
    }
}

/// A panic in a task's `accept` costs its own message alone.
fn accept(task: &dyn AnyTask, message: &Message) -> Result<Work<AnyInput>, Outcome> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| task.accept(message))).unwrap_or_else(|_| {
        tracing::error!(task = task.name(), message_id = message.id, "the task panicked");
        Err(Outcome::retry("the task failed"))
    })
}

/// Cloud Logging's trace name and the span id: from the message's `traceparent`, its producer's, else the request's, else
/// `X-Cloud-Trace-Context`. Empty where there is none.
fn trace(headers: &HeaderMap, message: &Message, project: Option<&str>) -> (String, String) {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let own = ["traceparent", "googclient_traceparent"]
        .into_iter()
        .find_map(|name| message.attributes.get(name).map(String::as_str));
    let parent = own.or_else(|| header("traceparent")).and_then(|text| {
        let mut parts = text.split('-').skip(1);
        Some((parts.next()?, parts.next()?.to_owned()))
    });
    let cloud = || {
        let (trace, rest) = header("x-cloud-trace-context")?.split_once('/')?;
        let span: u64 = rest.split(';').next()?.parse().ok()?;
        Some((trace, format!("{span:016x}")))
    };
    let hexadecimal = |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit());
    match parent.or_else(cloud) {
        Some((trace, span)) if hexadecimal(trace, 32) && hexadecimal(&span, 16) => {
            let name = match project {
                Some(project) => format!("projects/{project}/traces/{trace}"),
                None => trace.to_owned(),
            };
            (name, span)
        }
        _ => Default::default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_trace_is_the_message_s_else_the_request_s() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |attribute: Option<&str>, header: Option<(&'static str, &str)>| {
            let mut message = Message::default();
            if let Some(value) = attribute {
                message.attributes.insert("traceparent".into(), value.into());
            }
            let headers = header.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            trace(&headers.into_iter().collect(), &message, Some("p"))
        };
        let parent = format!("00-{ID}-00f067aa0ba902b7-01");
        let found = (format!("projects/p/traces/{ID}"), "00f067aa0ba902b7".to_owned());
        assert_eq!(of(Some(&parent), Some(("traceparent", "00-0-1-00"))), found);
        assert_eq!(of(None, Some(("traceparent", &parent))), found);
        let cloud = format!("{ID}/67667974448284343;o=1");
        assert_eq!(of(None, Some(("x-cloud-trace-context", &cloud))), found);
        for nonsense in ["", "00", "00-zz-00f067aa0ba902b7-01", "00--", "x/y;z"] {
            assert_eq!(of(Some(nonsense), None), Default::default());
            assert_eq!(of(None, Some(("x-cloud-trace-context", nonsense))), Default::default());
        }
    }
}
