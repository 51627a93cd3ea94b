//! Traces of messages, put together from several sources: Pub/Sub's events, the services' logs, results and dead
//! letters.
//!
//! With events, a trace begins with the end of a delivery and waits a moment for the service's log line about it.
//! Without events, from a Pub/Sub in another process, it begins with the log line and waits for the result or the dead
//! letter. Either is shown as it is when it has waited for [`TRACE_WAIT`].
//!
//! - `routes`: the declared subscriptions and topics; `log_line`: a service's log line about a message

mod log_line;
mod routes;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use pubsub::{Event, EventKind, Message, NackReason, Time};
use tokio::time::Instant;

use super::declared::Declared;
use super::trace::{DeadLetter, MessageTrace, ResultExcerpt};
pub(super) use log_line::LogLine;
use routes::{Route, Routes, short};

/// Tracer that are remembered at once; traces of more are incomplete.
const MAX_MESSAGES: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// Results that are remembered at once, of up to 16 KiB each.
const MAX_RESULTS: NonZeroUsize = NonZeroUsize::new(2000).unwrap();
/// How long a trace waits for the service's log line, or for the result.
const TRACE_WAIT: Duration = Duration::from_millis(700);

/// A service and a message id.
type WorkKey = (String, String);

pub(super) struct Tracer {
    routes: Routes,
    /// Whether Pub/Sub reports events; without them there are the logs alone.
    events: bool,
    /// When a message was delivered by a subscription, and in which attempt.
    deliveries: LruCache<(u64, Arc<str>), (Time, u32)>,
    /// How many subscriptions filtered a message out.
    filtered: LruCache<u64, usize>,
    logs: LruCache<WorkKey, LogLine>,
    results: LruCache<WorkKey, ResultExcerpt>,
    dead_letters: LruCache<WorkKey, DeadLetter>,
    /// Traces that wait for the rest, until when.
    waiting: LruCache<WorkKey, (Instant, MessageTrace)>,
    /// When messages of a subscription were last delivered.
    read: BTreeMap<String, Instant>,
}

impl Tracer {
    pub(super) fn new(events: bool) -> Self {
        Self {
            routes: Routes::default(),
            events,
            deliveries: LruCache::new(MAX_MESSAGES),
            filtered: LruCache::new(MAX_MESSAGES),
            logs: LruCache::new(MAX_MESSAGES),
            results: LruCache::new(MAX_RESULTS),
            dead_letters: LruCache::new(MAX_MESSAGES),
            waiting: LruCache::new(MAX_MESSAGES),
            read: BTreeMap::new(),
        }
    }

    /// Follows what is declared now. `logged` tells whether the log of a service is read here.
    pub(super) fn declare(&mut self, declared: &Declared, logged: impl Fn(&str) -> bool) {
        self.routes = Routes::new(declared, logged);
    }

    /// When messages of this subscription were last delivered.
    pub(super) fn last_read(&self, subscription: &str) -> Option<Instant> {
        self.read.get(subscription).copied()
    }

    /// Takes in an event of Pub/Sub; returns the traces that are complete with it.
    pub(super) fn event(&mut self, event: &Event, now: Instant) -> Vec<MessageTrace> {
        let Event { time, message, kind } = event;
        let trace = match kind {
            EventKind::Published { topic } => {
                let attributes = message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                return self.published(topic, &message.data, attributes);
            }
            EventKind::Filtered { subscription } => return self.filtered(*time, message, subscription),
            EventKind::Delivered { subscription, attempt } => {
                if self.routes.by_subscription.contains_key(&**subscription) {
                    self.read.insert(subscription.to_string(), now);
                }
                self.deliveries.put((message.number, Arc::clone(subscription)), (*time, *attempt));
                return Vec::new();
            }
            EventKind::Acked { subscription } => self.trace(*time, message, subscription, "acked", None),
            EventKind::Nacked { subscription, reason } => {
                let detail = match reason {
                    NackReason::Subscriber => "nacked".to_owned(),
                    NackReason::Status(status) => format!("answered {status}"),
                    NackReason::NoResponse(why) => why.to_string(),
                };
                let mut trace = self.trace(*time, message, subscription, "failed", Some(detail));
                // `dlq list` and `dlq show` nack the dead letters that they have read. Those are not failed attempts.
                let held = self.routes.by_subscription.get(&**subscription).filter(|route| route.pulled);
                if held
                    .is_some_and(|route| self.routes.dead_letter_topics.iter().any(|topic| short(topic) == route.topic))
                {
                    return Vec::new();
                }
                if matches!(reason, NackReason::NoResponse(_)) {
                    trace.time = Some(*time);
                    return vec![trace];
                }
                trace
            }
            EventKind::Expired { subscription } => {
                self.trace(*time, message, subscription, "expired", Some("not acknowledged in time".to_owned()))
            }
            EventKind::DeadLettered { subscription, topic, attempts } => {
                let mut trace = self.trace(*time, message, subscription, "dead-lettered", None);
                trace.letter = Some(DeadLetter { topic: short(topic), reason: format!("{attempts} attempts") });
                return vec![trace];
            }
            EventKind::Discarded { subscription } => {
                let why = Some("not acknowledged within the subscription's retention".to_owned());
                return vec![self.trace(*time, message, subscription, "discarded", why)];
            }
        };
        let subscription = match kind {
            EventKind::Acked { subscription }
            | EventKind::Nacked { subscription, .. }
            | EventKind::Expired { subscription } => subscription,
            _ => return vec![trace],
        };
        let (logged, service) = match self.routes.by_subscription.get(&**subscription) {
            Some(Route { logged, service: Some(service), .. }) => (*logged, service.clone()),
            _ => return vec![trace],
        };
        let work = (service, trace.id.clone());
        match self.logs.pop(&work) {
            Some(log) => vec![self.complete(trace, &work, Some(log))],
            None if logged => {
                self.waiting.put(work, (now + TRACE_WAIT, trace)).map(|(_, trace)| trace).into_iter().collect()
            }
            None => vec![self.complete(trace, &work, None)],
        }
    }

    /// Takes in a log line of a service about a message.
    pub(super) fn log(&mut self, service: &str, log: LogLine, now: Instant) -> Option<MessageTrace> {
        let work = (service.to_owned(), log.id.clone());
        if let Some((_, trace)) = self.waiting.pop(&work) {
            return Some(self.complete(trace, &work, Some(log)));
        }
        if self.events {
            self.logs.put(work, log);
            return None;
        }
        let mut feeds = self.routes.by_subscription.values().filter(|route| route.service.as_deref() == Some(service));
        let mut trace =
            MessageTrace { id: log.id.clone(), service: Some(service.to_owned()), ..MessageTrace::default() };
        if let (Some(route), None) = (feeds.next(), feeds.next()) {
            (trace.topic, trace.subscription) = (route.topic.clone(), route.name.clone());
            trace.filter.clone_from(&route.filter);
        }
        let has_result = self.results.contains(&work) || self.dead_letters.contains(&work);
        let trace = self.complete(trace, &work, Some(log));
        if has_result || !matches!(trace.outcome.as_str(), "done" | "rejected") {
            return Some(trace);
        }
        self.waiting.put(work, (now + TRACE_WAIT, trace)).map(|(_, trace)| trace)
    }

    /// Takes in a message that was published, which may be the result or the dead letter of another.
    pub(super) fn published<'a>(
        &mut self,
        topic: &str,
        data: &[u8],
        attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<MessageTrace> {
        let (results, letters) =
            (self.routes.result_topics.contains(topic), self.routes.dead_letter_topics.contains(topic));
        if !results && !letters {
            return Vec::new();
        }
        let attributes: BTreeMap<&str, &str> = attributes.collect();
        let get = |name: &str| attributes.get(name).map(|value| (*value).to_owned());
        let letter = (get("dead-letter-reason"), get("dead-letter-service"), get("dead-letter-source-message-id"));
        if let (true, (Some(reason), Some(service), Some(id))) = (letters, letter) {
            let work = (service, id);
            self.dead_letters.put(work.clone(), DeadLetter { topic: short(topic), reason });
            return self.fill(&work);
        }
        let service =
            get("ce-source").and_then(|source| Some(source.strip_prefix("//ai.workloads/services/")?.to_owned()));
        match (service, get("source-message-id")) {
            (Some(service), Some(id)) if results => self.result((service, id), data),
            _ => Vec::new(),
        }
    }

    /// Takes in the result of a service for a message.
    pub(super) fn result(&mut self, work: WorkKey, data: &[u8]) -> Vec<MessageTrace> {
        self.results.put(work.clone(), ResultExcerpt::of(data));
        self.fill(&work)
    }

    /// Completes a trace that waits for a result or a dead letter, as traces do without events.
    fn fill(&mut self, work: &WorkKey) -> Vec<MessageTrace> {
        if self.events {
            return Vec::new();
        }
        let waiting = self.waiting.pop(work).map(|(_, trace)| self.complete(trace, work, None));
        waiting.into_iter().collect()
    }

    /// Traces that have waited long enough.
    pub(super) fn due(&mut self, now: Instant) -> Vec<MessageTrace> {
        let mut traces = Vec::new();
        while self.waiting.peek_lru().is_some_and(|(_, (due, _))| *due <= now) {
            traces.extend(self.waiting.pop_lru().map(|(_, (_, trace))| trace));
        }
        traces
    }

    fn filtered(&mut self, time: Time, message: &Arc<Message>, subscription: &Arc<str>) -> Vec<MessageTrace> {
        let Some(route) = self.routes.by_subscription.get(&**subscription) else { return Vec::new() };
        let topic = route.topic.clone();
        let subscriptions = self
            .routes
            .subscriptions_of
            .iter()
            .find(|(name, _)| short(name) == topic)
            .map_or(0, |(_, subscriptions)| *subscriptions);
        let filtered_out = match self.filtered.peek_mut(&message.number) {
            Some(filtered_out) => {
                *filtered_out += 1;
                *filtered_out
            }
            None => {
                self.filtered.put(message.number, 1);
                1
            }
        };
        if filtered_out < subscriptions {
            return Vec::new();
        }
        self.filtered.pop(&message.number);
        let detail = Some("no subscription's filter takes it".to_owned());
        vec![MessageTrace {
            id: message.id(),
            topic,
            outcome: "filtered".to_owned(),
            detail,
            time: Some(time),
            ..MessageTrace::default()
        }]
    }

    fn trace(
        &mut self,
        time: Time,
        message: &Message,
        subscription: &Arc<str>,
        outcome: &str,
        detail: Option<String>,
    ) -> MessageTrace {
        let delivery = self.deliveries.pop(&(message.number, Arc::clone(subscription)));
        let ms = |from: Time| time.since(from).as_secs_f64() * 1e3;
        let mut trace = MessageTrace {
            id: message.id(),
            subscription: short(subscription),
            outcome: outcome.to_owned(),
            ms: delivery.map(|(delivered, _)| ms(delivered)),
            total_ms: Some(ms(message.publish_time)),
            attempt: delivery.map(|(_, attempt)| attempt),
            detail,
            time: Some(time),
            ..MessageTrace::default()
        };
        if let Some(route) = self.routes.by_subscription.get(&**subscription) {
            (trace.topic, trace.filter, trace.eventarc) = (route.topic.clone(), route.filter.clone(), route.eventarc);
            trace.service.clone_from(&route.service);
        }
        trace
    }

    fn complete(&mut self, mut trace: MessageTrace, work: &WorkKey, log: Option<LogLine>) -> MessageTrace {
        if let Some(log) = log {
            (trace.task, trace.outcome) = (Some(log.task), log.outcome);
            trace.ms = log.ms.or(trace.ms);
            trace.detail = log.detail;
        }
        trace.result = self.results.pop(work).or(trace.result);
        trace.letter = self.dead_letters.pop(work).or(trace.letter);
        trace
    }
}
