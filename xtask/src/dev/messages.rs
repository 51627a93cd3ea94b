//! What is known of messages from several sides, put together: Pub/Sub's events, the services' logs, results and dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use pubsub::{Event, EventKind, Message, NackReason, Time};
use serde_json::Value;
use tokio::time::Instant;

use super::declared::{Declared, Feeds};
use super::way::{Excerpt, Letter, Way};

/// Messages under way that are remembered; of more, lines say less.
const UNDER_WAY: NonZeroUsize = NonZeroUsize::new(20_000).unwrap();
/// Results that wait for the rest of what is known, with up to 16 KiB each.
const RESULTS: NonZeroUsize = NonZeroUsize::new(2000).unwrap();
/// How long a line waits for the service's word, or for the result.
const PATIENCE: Duration = Duration::from_millis(700);

/// A service and a message id.
type Work = (String, String);

pub(super) struct Messages {
    routes: BTreeMap<String, Route>,
    /// How many declared subscriptions each topic has.
    fans: BTreeMap<String, usize>,
    results_in: BTreeSet<String>,
    dead_letters_in: BTreeSet<String>,
    /// There are events; without them the logs are all there is.
    events: bool,
    deliveries: LruCache<(u64, Arc<str>), (Time, u32)>,
    passed: LruCache<u64, usize>,
    logs: LruCache<Work, Log>,
    results: LruCache<Work, Excerpt>,
    letters: LruCache<Work, Letter>,
    waiting: LruCache<Work, (Instant, Way)>,
    /// When somebody was last given messages of a subscription.
    read: BTreeMap<String, Instant>,
}

/// A declared subscription.
struct Route {
    name: String,
    topic: String,
    filter: Option<String>,
    eventarc: bool,
    service: Option<String>,
    pulled: bool,
    /// Its service writes its log here.
    logged: bool,
}

/// A service's line about one message.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    id: String,
    task: String,
    outcome: String,
    ms: Option<f64>,
    detail: Option<String>,
}

impl Log {
    /// `None` if the line is about something else.
    pub(super) fn read(line: &Value) -> Option<Self> {
        if line["message"] != "message" {
            return None;
        }
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let (id, task, outcome) = (text("message_id")?, text("task").unwrap_or_default(), text("outcome")?);
        Some(Self { id, task, outcome, ms: line["ms"].as_f64(), detail: text("detail") })
    }
}

fn short(name: &str) -> String {
    name.rsplit('/').next().unwrap_or(name).to_owned()
}

impl Messages {
    pub(super) fn new(events: bool) -> Self {
        Self {
            routes: BTreeMap::new(),
            fans: BTreeMap::new(),
            results_in: BTreeSet::new(),
            dead_letters_in: BTreeSet::new(),
            events,
            deliveries: LruCache::new(UNDER_WAY),
            passed: LruCache::new(UNDER_WAY),
            logs: LruCache::new(UNDER_WAY),
            results: LruCache::new(RESULTS),
            letters: LruCache::new(UNDER_WAY),
            waiting: LruCache::new(UNDER_WAY),
            read: BTreeMap::new(),
        }
    }

    /// What is declared now. `logged` says which services write their logs here.
    pub(super) fn declare(&mut self, declared: &Declared, logged: impl Fn(&str) -> bool) {
        self.routes.clear();
        self.fans.clear();
        for subscription in &declared.subscriptions {
            let service = match &subscription.feeds {
                Feeds::Service(service) => Some(service.clone()),
                Feeds::Pull | Feeds::Endpoint(_) => None,
            };
            let route = Route {
                name: short(subscription.name()),
                topic: short(&subscription.topic),
                filter: subscription.filter.clone(),
                eventarc: subscription.eventarc,
                logged: service.as_deref().is_some_and(&logged),
                pulled: subscription.feeds == Feeds::Pull,
                service,
            };
            self.routes.insert(subscription.name().to_owned(), route);
            *self.fans.entry(subscription.topic.clone()).or_default() += 1;
        }
        self.results_in = declared.results.iter().cloned().collect();
        self.dead_letters_in = declared.dead_letters.iter().cloned().collect();
    }

    /// When messages of this subscription were last handed to somebody.
    pub(super) fn last_read(&self, subscription: &str) -> Option<Instant> {
        self.read.get(subscription).copied()
    }

    /// Something happened in Pub/Sub; the lines that are complete by it.
    pub(super) fn event(&mut self, event: &Event, now: Instant) -> Vec<Way> {
        let Event { time, message, kind } = event;
        let way = match kind {
            EventKind::Published { topic } => {
                let attributes = message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                return self.published(topic, &message.data, attributes);
            }
            EventKind::Filtered { subscription } => return self.filtered(*time, message, subscription),
            EventKind::Delivered { subscription, attempt } => {
                if self.routes.contains_key(&**subscription) {
                    self.read.insert(subscription.to_string(), now);
                }
                self.deliveries.put((message.number, Arc::clone(subscription)), (*time, *attempt));
                return Vec::new();
            }
            EventKind::Acked { subscription } => self.way(*time, message, subscription, "acked", None),
            EventKind::Nacked { subscription, reason } => {
                let detail = match reason {
                    NackReason::Subscriber => "given back".to_owned(),
                    NackReason::Status(status) => format!("answered {status}"),
                    NackReason::NoResponse(why) => why.to_string(),
                };
                let mut way = self.way(*time, message, subscription, "failed", Some(detail));
                // Whoever looks at dead letters gives them back; that is no attempt that failed.
                let held = self.routes.get(&**subscription).filter(|route| route.pulled);
                if held.is_some_and(|route| self.dead_letters_in.iter().any(|topic| short(topic) == route.topic)) {
                    return Vec::new();
                }
                if matches!(reason, NackReason::NoResponse(_)) {
                    way.time = Some(*time);
                    return vec![way];
                }
                way
            }
            EventKind::Expired { subscription } => {
                self.way(*time, message, subscription, "expired", Some("not acknowledged in time".to_owned()))
            }
            EventKind::DeadLettered { subscription, topic, attempts } => {
                let mut way = self.way(*time, message, subscription, "dead-lettered", None);
                way.letter = Some(Letter { topic: short(topic), reason: format!("{attempts} attempts") });
                return vec![way];
            }
            EventKind::Discarded { subscription } => {
                let why = Some("kept as long as the subscription's retention says".to_owned());
                return vec![self.way(*time, message, subscription, "discarded", why)];
            }
        };
        let subscription = match kind {
            EventKind::Acked { subscription }
            | EventKind::Nacked { subscription, .. }
            | EventKind::Expired { subscription } => subscription,
            _ => return vec![way],
        };
        let (logged, service) = match self.routes.get(&**subscription) {
            Some(Route { logged, service: Some(service), .. }) => (*logged, service.clone()),
            _ => return vec![way],
        };
        let work = (service, way.id.clone());
        match self.logs.pop(&work) {
            Some(log) => vec![self.complete(way, &work, Some(log))],
            None if logged => self.waiting.put(work, (now + PATIENCE, way)).map(|(_, way)| way).into_iter().collect(),
            None => vec![self.complete(way, &work, None)],
        }
    }

    /// A service wrote a line about a message.
    pub(super) fn log(&mut self, service: &str, log: Log, now: Instant) -> Option<Way> {
        let work = (service.to_owned(), log.id.clone());
        if let Some((_, way)) = self.waiting.pop(&work) {
            return Some(self.complete(way, &work, Some(log)));
        }
        if self.events {
            self.logs.put(work, log);
            return None;
        }
        let mut feeds = self.routes.values().filter(|route| route.service.as_deref() == Some(service));
        let mut way = Way { id: log.id.clone(), service: Some(service.to_owned()), ..Way::default() };
        if let (Some(route), None) = (feeds.next(), feeds.next()) {
            (way.topic, way.subscription) = (route.topic.clone(), route.name.clone());
            way.filter.clone_from(&route.filter);
        }
        let known = self.results.contains(&work) || self.letters.contains(&work);
        let way = self.complete(way, &work, Some(log));
        if known || !matches!(way.outcome.as_str(), "done" | "rejected") {
            return Some(way);
        }
        self.waiting.put(work, (now + PATIENCE, way)).map(|(_, way)| way)
    }

    /// A topic took a message, which may be the result or the dead letter of another.
    pub(super) fn published<'a>(
        &mut self,
        topic: &str,
        data: &[u8],
        attributes: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Vec<Way> {
        let (results, letters) = (self.results_in.contains(topic), self.dead_letters_in.contains(topic));
        if !results && !letters {
            return Vec::new();
        }
        let attributes: BTreeMap<&str, &str> = attributes.collect();
        let get = |name: &str| attributes.get(name).map(|value| (*value).to_owned());
        let letter = (get("dead-letter-reason"), get("dead-letter-service"), get("dead-letter-source-message-id"));
        if let (true, (Some(reason), Some(service), Some(id))) = (letters, letter) {
            let work = (service, id);
            self.letters.put(work.clone(), Letter { topic: short(topic), reason });
            return self.fill(&work);
        }
        let service =
            get("ce-source").and_then(|source| Some(source.strip_prefix("//ai.workloads/services/")?.to_owned()));
        match (service, get("source-message-id")) {
            (Some(service), Some(id)) if results => self.result((service, id), data),
            _ => Vec::new(),
        }
    }

    /// A result of this service for this message.
    pub(super) fn result(&mut self, work: Work, data: &[u8]) -> Vec<Way> {
        self.results.put(work.clone(), Excerpt::of(data));
        self.fill(&work)
    }

    /// Without events, lines wait for results instead.
    fn fill(&mut self, work: &Work) -> Vec<Way> {
        if self.events {
            return Vec::new();
        }
        let waiting = self.waiting.pop(work).map(|(_, way)| self.complete(way, work, None));
        waiting.into_iter().collect()
    }

    /// Lines that have waited long enough.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Way> {
        let mut ways = Vec::new();
        while self.waiting.peek_lru().is_some_and(|(_, (due, _))| *due <= now) {
            ways.extend(self.waiting.pop_lru().map(|(_, (_, way))| way));
        }
        ways
    }

    fn filtered(&mut self, time: Time, message: &Arc<Message>, subscription: &Arc<str>) -> Vec<Way> {
        let Some(route) = self.routes.get(&**subscription) else { return Vec::new() };
        let topic = route.topic.clone();
        let fan = self.fans.iter().find(|(name, _)| short(name) == topic).map_or(0, |(_, fan)| *fan);
        let passed = match self.passed.peek_mut(&message.number) {
            Some(passed) => {
                *passed += 1;
                *passed
            }
            None => {
                self.passed.put(message.number, 1);
                1
            }
        };
        if passed < fan {
            return Vec::new();
        }
        self.passed.pop(&message.number);
        let detail = Some("no subscription's filter takes it".to_owned());
        vec![Way {
            id: message.id(),
            topic,
            outcome: "filtered".to_owned(),
            detail,
            time: Some(time),
            ..Way::default()
        }]
    }

    fn way(
        &mut self,
        time: Time,
        message: &Message,
        subscription: &Arc<str>,
        outcome: &str,
        detail: Option<String>,
    ) -> Way {
        let delivery = self.deliveries.pop(&(message.number, Arc::clone(subscription)));
        let ms = |from: Time| time.since(from).as_secs_f64() * 1e3;
        let mut way = Way {
            id: message.id(),
            subscription: short(subscription),
            outcome: outcome.to_owned(),
            ms: delivery.map(|(delivered, _)| ms(delivered)),
            total_ms: Some(ms(message.publish_time)),
            attempt: delivery.map(|(_, attempt)| attempt),
            detail,
            time: Some(time),
            ..Way::default()
        };
        if let Some(route) = self.routes.get(&**subscription) {
            (way.topic, way.filter, way.eventarc) = (route.topic.clone(), route.filter.clone(), route.eventarc);
            way.service.clone_from(&route.service);
        }
        way
    }

    fn complete(&mut self, mut way: Way, work: &Work, log: Option<Log>) -> Way {
        if let Some(log) = log {
            (way.task, way.outcome) = (Some(log.task), log.outcome);
            way.ms = log.ms.or(way.ms);
            way.detail = log.detail;
        }
        way.result = self.results.pop(work).or(way.result);
        way.letter = self.letters.pop(work).or(way.letter);
        way
    }
}
