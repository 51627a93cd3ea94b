//! A service and what became of its messages.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::json;
use tests::{Bus, Function, Received, free_port, program, unique};

/// How messages come to the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Push,
    Pull,
}

/// What a service is made of, whether it is there or not.
#[derive(Clone, Debug)]
pub(super) struct Names {
    way: Way,
    attempts: u32,
    port: u16,
    id: String,
    variables: BTreeMap<&'static str, String>,
}

/// A service with its topics and subscriptions on a bus.
pub(super) struct Scene<'a> {
    pub(super) bus: &'a Bus,
    pub(super) names: Names,
    /// The topic and the subscription of its work.
    pub(super) topic: String,
    pub(super) work: String,
    /// The subscriptions to what comes of it.
    pub(super) results: String,
    pub(super) dead: String,
}

/// What is there at the end, by `idempotency-key`.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// In which deliveries of the message its results were made.
    pub(super) results: BTreeMap<String, Vec<u64>>,
    pub(super) dead: BTreeMap<String, Vec<Received>>,
}

impl Names {
    /// `attempts` deliveries that fail make a dead letter.
    pub(super) fn new(way: Way, attempts: u32) -> Self {
        Self { way, attempts, port: free_port(), id: unique("faults"), variables: BTreeMap::new() }
    }

    /// With this setting instead of the usual one.
    pub(super) fn with(mut self, setting: &'static str, value: impl Into<String>) -> Self {
        self.variables.insert(setting, value.into());
        self
    }

    pub(super) async fn create(self, bus: &Bus) -> Scene<'_> {
        let Self { way, attempts, port, ref id, .. } = self;
        let topic = bus.create_topic(&format!("{id}-work")).await;
        let (_, results) = bus.create_topic_and_subscription(&format!("{id}-results")).await;
        let (dead_topic, dead) = bus.create_topic_and_subscription(&format!("{id}-dead")).await;
        let mut fields = json!({
            "retryPolicy": {"minimumBackoff": "0.05s", "maximumBackoff": "0.2s"},
            "deadLetterPolicy": {"deadLetterTopic": dead_topic, "maxDeliveryAttempts": attempts},
        });
        if way == Way::Push {
            fields["pushConfig"] = json!({"pushEndpoint": format!("http://127.0.0.1:{port}/")});
        }
        let work = bus.create_subscription(&format!("{id}-work"), &topic, fields).await;
        Scene { bus, names: self, topic, work, results, dead }
    }
}

impl Scene<'_> {
    /// The settings of its process.
    pub(super) fn variables(&self) -> BTreeMap<&'static str, String> {
        let Names { way, port, id, variables, .. } = &self.names;
        let mut all = BTreeMap::from([
            ("PUBSUB_EMULATOR_HOST", self.bus.host().to_owned()),
            ("RESULTS", self.bus.topic_name(&format!("{id}-results"))),
            ("DEAD_LETTER_TOPIC", self.bus.topic_name(&format!("{id}-dead"))),
            ("PORT", port.to_string()),
        ]);
        if *way == Way::Pull {
            all.insert("PULL_SUBSCRIPTION", self.work.clone());
        }
        all.extend(variables.clone());
        all
    }

    /// The program that obeys its messages.
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

    /// Publishes messages of these numbers.
    pub(super) async fn publish(&self, numbers: Range<usize>, order: impl Fn(usize) -> String) {
        let numbers: Vec<usize> = numbers.collect();
        for numbers in numbers.chunks(500) {
            let message = |&n: &usize| json!({"data": BASE64_STANDARD.encode(order(n)), "attributes": {"idempotency-key": n.to_string()}});
            let messages: Vec<_> = numbers.iter().map(message).collect();
            self.bus.publish_messages(&self.topic, &messages).await;
        }
    }

    /// Messages that are not acknowledged.
    pub(super) fn backlog(&self) -> usize {
        self.bus.handle().backlog(&self.work).unwrap()
    }

    /// Results that have been published.
    pub(super) fn results(&self) -> usize {
        self.bus.handle().backlog(&self.results).unwrap()
    }

    /// Dead letters that have been published.
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

    /// Takes all results and dead letters.
    pub(super) async fn counts(&self) -> Counts {
        let patience = Duration::from_secs(20);
        let mut counts = Counts::default();
        for result in self.bus.pull(&self.results, self.results(), patience).await {
            let key = result.attribute("idempotency-key");
            assert_eq!(result.attribute("ce-id"), key);
            let attempt = result.json()["attempt"].as_u64().unwrap_or_default();
            counts.results.entry(key.to_owned()).or_default().push(attempt);
        }
        for letter in self.bus.pull(&self.dead, self.dead(), patience).await {
            let key = letter.attribute("idempotency-key").to_owned();
            counts.dead.entry(key).or_default().push(letter);
        }
        assert_eq!((self.results(), self.dead(), self.backlog()), (0, 0, 0));
        counts
    }
}

impl Counts {
    /// Every message is a result or a dead letter, and nothing else is there; but a message may have more than one result.
    /// Returns how many results too many there are.
    pub(super) fn add_up(&self, messages: impl IntoIterator<Item = usize>) -> usize {
        let both: Vec<_> = self.dead.keys().filter(|key| self.results.contains_key(*key)).collect();
        assert!(both.is_empty(), "results and dead letters: {both:?}");
        self.nothing_lost(messages)
    }

    /// The same where a message may be both.
    pub(super) fn nothing_lost(&self, messages: impl IntoIterator<Item = usize>) -> usize {
        let published: BTreeSet<String> = messages.into_iter().map(|n| n.to_string()).collect();
        let lost: Vec<&String> = published.iter().filter(|key| !self.ended(key)).collect();
        assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), published.len());
        let mut all = self.results.keys().chain(self.dead.keys());
        assert!(all.all(|key| published.contains(key)), "somebody else's");
        let twice: Vec<_> = self.dead.iter().filter(|(_, letters)| letters.len() > 1).map(|(key, _)| key).collect();
        assert!(twice.is_empty(), "twice dead letters: {twice:?}");
        self.results.values().map(|results| results.len() - 1).sum()
    }

    /// No delivery of a message made more than one result.
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

/// Creates a topic that somebody publishes to already, with a subscription that misses nothing; returns the subscription.
pub(super) async fn create_late(bus: &Bus, id: &str) -> String {
    let name = bus.topic_name(id);
    // What comes before the subscription is there is kept for it.
    let (status, answer) = bus.call("PUT", &name, &json!({"messageRetentionDuration": "600s"})).await;
    assert_eq!(status, 200, "{answer}");
    let subscription = bus.create_pull(id, &name).await;
    let seek = json!({"time": "2020-01-01T00:00:00Z"});
    let (status, answer) = bus.call("POST", &format!("{subscription}:seek"), &seek).await;
    assert_eq!(status, 200, "{answer}");
    subscription
}

/// Waits for what somebody else does.
pub(super) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(90), "never: {what}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}
