//! A service under test, and what became of its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use tests::{Bus, Function, Received, free_port, program, unique};

/// How messages reach the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Push,
    Pull,
}

/// What a service and its Pub/Sub resources are made from, before they exist.
#[derive(Clone, Debug)]
pub(super) struct SceneSettings {
    transport: Transport,
    attempts: u32,
    port: u16,
    id: String,
    variables: BTreeMap<&'static str, String>,
}

/// A service with its topics and subscriptions on a bus.
pub(super) struct Scene<'a> {
    pub(super) bus: &'a Bus,
    pub(super) settings: SceneSettings,
    /// The topic and the subscription of its work.
    pub(super) topic: String,
    pub(super) work: String,
    /// The subscriptions to its results and dead letters.
    pub(super) results: String,
    pub(super) dead: String,
}

/// What was published, by `idempotency-key`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// The delivery attempts in which the results of a message were made.
    pub(super) results: BTreeMap<String, Vec<u64>>,
    pub(super) dead: BTreeMap<String, Vec<Received>>,
}

impl SceneSettings {
    /// A message is dead-lettered after `attempts` failed deliveries.
    pub(super) fn new(transport: Transport, attempts: u32) -> Self {
        Self { transport, attempts, port: free_port(), id: unique("faults"), variables: BTreeMap::new() }
    }

    /// Sets an environment variable of the process; replaces the usual value.
    pub(super) fn with(mut self, setting: &'static str, value: impl Into<String>) -> Self {
        self.variables.insert(setting, value.into());
        self
    }

    pub(super) async fn create(self, bus: &Bus) -> Scene<'_> {
        let Self { transport, attempts, port, ref id, .. } = self;
        let topic = bus.create_topic(&format!("{id}-work")).await;
        let (_, results) = bus.create_topic_and_subscription(&format!("{id}-results")).await;
        let (dead_topic, dead) = bus.create_topic_and_subscription(&format!("{id}-dead")).await;
        let mut fields = json!({
            "retryPolicy": {"minimumBackoff": "0.05s", "maximumBackoff": "0.2s"},
            "deadLetterPolicy": {"deadLetterTopic": dead_topic, "maxDeliveryAttempts": attempts},
        });
        if transport == Transport::Push {
            fields["pushConfig"] = json!({"pushEndpoint": format!("http://127.0.0.1:{port}/")});
        }
        let work = bus.create_subscription(&format!("{id}-work"), &topic, fields).await;
        Scene { bus, settings: self, topic, work, results, dead }
    }
}

impl Scene<'_> {
    /// The environment variables of its process.
    pub(super) fn variables(&self) -> BTreeMap<&'static str, String> {
        let SceneSettings { transport, port, id, variables, .. } = &self.settings;
        let mut all = BTreeMap::from([
            ("PUBSUB_EMULATOR_HOST", self.bus.host().to_owned()),
            ("RESULTS", self.bus.topic_name(&format!("{id}-results"))),
            ("DEAD_LETTER_TOPIC", self.bus.topic_name(&format!("{id}-dead"))),
            ("PORT", port.to_string()),
        ]);
        if *transport == Transport::Pull {
            all.insert("PULL_SUBSCRIPTION", self.work.clone());
        }
        all.extend(variables.clone());
        all
    }

    /// The command of `obey`, whose task does what its messages say.
    pub(super) fn command(&self) -> Command {
        let variables = self.variables();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        program(Path::new(env!("CARGO_BIN_EXE_obey")), &variables)
    }

    pub(super) async fn start(&self) -> Function {
        self.try_start().await.unwrap_or_else(|status| panic!("it ended before it was ready: {status}"))
    }

    pub(super) async fn try_start(&self) -> Result<Function, ExitStatus> {
        Function::spawn(self.command()).await
    }

    /// Publishes messages with these numbers, each with its order as data.
    pub(super) async fn publish(&self, numbers: Range<usize>, order: impl Fn(usize) -> String) {
        let numbers: Vec<usize> = numbers.collect();
        for numbers in numbers.chunks(500) {
            let message = |&n: &usize| {
                let data = BASE64_STANDARD.encode(order(n));
                json!({"data": data, "attributes": {"idempotency-key": n.to_string()}})
            };
            let messages: Vec<_> = numbers.iter().map(message).collect();
            self.bus.publish_messages(&self.topic, &messages).await;
        }
    }

    /// The number of messages that are not acknowledged.
    pub(super) fn backlog(&self) -> usize {
        self.bus.handle().backlog(&self.work).unwrap()
    }

    /// The number of results that have been published.
    pub(super) fn results(&self) -> usize {
        self.bus.handle().backlog(&self.results).unwrap()
    }

    /// The number of dead letters that have been published.
    pub(super) fn dead(&self) -> usize {
        self.bus.handle().backlog(&self.dead).unwrap()
    }

    /// Waits until nothing is left in the subscription.
    pub(super) async fn settled(&self) {
        until("the subscription is empty", || self.backlog() == 0).await;
    }

    /// Waits for the end of the work, stops the process, and counts.
    pub(super) async fn finish(&self, function: Function) -> Counts {
        self.settled().await;
        assert_eq!(function.terminate().0, Some(0));
        self.counts().await
    }

    /// Pulls all results and dead letters.
    pub(super) async fn counts(&self) -> Counts {
        let timeout = Duration::from_secs(20);
        let mut counts = Counts::default();
        for result in self.bus.pull(&self.results, self.results(), timeout).await {
            let key = result.attribute("idempotency-key");
            assert_eq!(result.attribute("ce-id"), key);
            let attempt = result.json()["attempt"].as_u64().unwrap_or_default();
            counts.results.entry(key.to_owned()).or_default().push(attempt);
        }
        for letter in self.bus.pull(&self.dead, self.dead(), timeout).await {
            let key = letter.attribute("idempotency-key").to_owned();
            counts.dead.entry(key).or_default().push(letter);
        }
        assert_eq!((self.results(), self.dead(), self.backlog()), (0, 0, 0));
        counts
    }
}

impl Counts {
    /// Checks that every message has a result or a dead letter and not both, and that nothing else was published. A
    /// message may have several results; returns how many there are beyond the first ones.
    pub(super) fn add_up(&self, messages: impl IntoIterator<Item = usize>) -> usize {
        let both: Vec<_> = self.dead.keys().filter(|key| self.results.contains_key(*key)).collect();
        assert!(both.is_empty(), "results and dead letters: {both:?}");
        self.nothing_lost(messages)
    }

    /// The same, but a message may have both a result and a dead letter.
    pub(super) fn nothing_lost(&self, messages: impl IntoIterator<Item = usize>) -> usize {
        let published: BTreeSet<String> = messages.into_iter().map(|n| n.to_string()).collect();
        let lost: Vec<&String> = published.iter().filter(|key| !self.ended(key)).collect();
        assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), published.len());
        let mut all = self.results.keys().chain(self.dead.keys());
        assert!(all.all(|key| published.contains(key)), "results of other messages");
        let twice: Vec<_> = self.dead.iter().filter(|(_, letters)| letters.len() > 1).map(|(key, _)| key).collect();
        assert!(twice.is_empty(), "dead-lettered twice: {twice:?}");
        self.results.values().map(|results| results.len() - 1).sum()
    }

    /// Checks that no delivery of a message made more than one result.
    pub(super) fn one_for_each_delivery(&self) {
        for (key, attempts) in &self.results {
            let different: BTreeSet<_> = attempts.iter().collect();
            assert_eq!(different.len(), attempts.len(), "{key}: results of deliveries {attempts:?}");
        }
    }

    fn ended(&self, key: &str) -> bool {
        self.results.contains_key(key) || self.dead.contains_key(key)
    }
}

/// Creates a topic that publishers use already, with a subscription that misses none of its messages; returns the
/// subscription.
pub(super) async fn create_late(bus: &Bus, id: &str) -> String {
    let name = bus.topic_name(id);
    // The topic keeps what is published before the subscription exists.
    let (status, answer) = bus.call("PUT", &name, &json!({"messageRetentionDuration": "600s"})).await;
    assert_eq!(status, 200, "{answer}");
    let subscription = bus.create_pull(id, &name).await;
    let seek = json!({"time": "2020-01-01T00:00:00Z"});
    let (status, answer) = bus.call("POST", &format!("{subscription}:seek"), &seek).await;
    assert_eq!(status, 200, "{answer}");
    subscription
}

/// Waits until the condition holds, which another process or task has to bring about.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(90), "never: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
