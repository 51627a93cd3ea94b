//! Publishes dead letters to the topics that they came from.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use google_cloud_pubsub::client::{BasePublisher, Publisher, SubscriptionAdmin};
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Interval;

use super::dead_letter::{DeadLetter, Source};
use super::reader::Reader;
use super::subscription::subscription;
use crate::flags::Redrive;
use crate::pubsub_client::{MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, PubSubClient, pace, tick};

/// The most topics that one run publishes to, since the publisher of each has a queue.
const MAX_TOPICS: usize = 100;
/// Why a dead letter stays whose topic refused one.
const REFUSED: &str = "could not be published";

pub(super) async fn run(arguments: &Redrive) -> Result<()> {
    let pubsub = PubSubClient::find(&arguments.source.target)?;
    let subscription = subscription(&arguments.source, &pubsub)?;
    let mut route = Route::new(&pubsub, &subscription, arguments).await?;
    let mut reader = Reader::open(&pubsub, &subscription, arguments.source.wait)?;
    let mut tally = Tally::default();
    let result = redrive(arguments, &mut reader, &mut route, &mut tally).await;
    let closed = reader.close().await;
    tally.print(arguments, &subscription)?;
    result.and(closed)
}

/// Redrives the dead letters of the subscription, until none is left or the limit is reached. Returns the first of
/// several errors.
async fn redrive(arguments: &Redrive, reader: &mut Reader, route: &mut Route<'_>, tally: &mut Tally) -> Result<()> {
    let limit = arguments.limit.unwrap_or(u64::MAX);
    let mut pace: Option<Interval> = pace(arguments.rate.filter(|_| !arguments.dry_run));
    let mut sent = FuturesUnordered::new();
    let (mut taken, mut bytes) = (0, 0);
    let mut result = Ok(());
    let mut reading = true;
    while reading || !sent.is_empty() {
        reading = reading && taken < limit && !reader.is_full();
        tokio::select! {
            Some((topic, letter, answer)) = sent.next() => {
                let (topic, letter, answer): (String, DeadLetter, Result<String, PublishError>) = (topic, letter, answer);
                bytes -= letter.data.len();
                match answer {
                    Ok(_) => {
                        reader.acknowledge(&letter);
                        *tally.redriven.entry(topic).or_default() += 1;
                    }
                    Err(error) => {
                        *tally.stay.entry(REFUSED).or_default() += 1;
                        let failed = || Err(route.pubsub.failed(&format!("publishing to {topic}"), &error));
                        result = result.and_then(|()| failed());
                        route.refused.insert(topic);
                    }
                }
            }
            next = reader.next(), if reading && sent.len() < MAX_IN_FLIGHT && bytes < MAX_BYTES_IN_FLIGHT => {
                let letter = match next {
                    Ok(Some(letter)) => letter,
                    Ok(None) => {
                        reading = false;
                        continue;
                    }
                    Err(error) => {
                        result = result.and(Err(error));
                        reading = false;
                        continue;
                    }
                };
                match route.of(&letter).await {
                    Err(stays) => *tally.stay.entry(stays).or_default() += 1,
                    Ok((topic, _)) if arguments.dry_run => {
                        taken += 1;
                        *tally.redriven.entry(topic).or_default() += 1;
                    }
                    Ok((topic, copy)) => {
                        tick(&mut pace).await;
                        taken += 1;
                        bytes += letter.data.len();
                        let answer = route.publisher(&topic).publish(copy);
                        sent.push(async move { (topic, letter, answer.await) });
                    }
                }
            }
        }
    }
    result
}

/// Decides which dead letters are redriven, and to which topic.
struct Route<'a> {
    pubsub: &'a PubSubClient,
    arguments: &'a Redrive,
    /// The topic of all of them, if one was given: `projects/P/topics/T`.
    topic: Option<String>,
    /// `projects/P/` of the dead-letter subscription. Anyone may have set the attributes of a dead letter, so they must
    /// not lead to another project.
    project: String,
    start: Timestamp,
    admin: SubscriptionAdmin,
    client: BasePublisher,
    /// By topic.
    publishers: HashMap<String, Publisher>,
    /// Topics that refused a message.
    refused: HashSet<String>,
    /// Topics of subscriptions; `None` for one that could not be found.
    topics: HashMap<String, Option<String>>,
}

impl<'a> Route<'a> {
    async fn new(pubsub: &'a PubSubClient, subscription: &str, arguments: &'a Redrive) -> Result<Self> {
        let project = subscription.split_once("/subscriptions/").map_or("", |(project, _)| project);
        Ok(Self {
            pubsub,
            arguments,
            topic: arguments.topic.as_deref().map(|topic| pubsub.topic(topic)),
            project: format!("{project}/"),
            start: Timestamp::now(),
            admin: pubsub.admin().await?,
            client: pubsub.publisher().await?,
            publishers: HashMap::new(),
            refused: HashSet::new(),
            topics: HashMap::new(),
        })
    }

    /// The topic and the message to publish.
    ///
    /// # Errors
    /// Why the dead letter stays.
    async fn of(&mut self, letter: &DeadLetter) -> Result<(String, model::Message), &'static str> {
        if self.arguments.filter.as_ref().is_some_and(|filter| !letter.passes(filter)) {
            return Err("does not pass the filter");
        }
        if letter.published.parse::<Timestamp>().is_ok_and(|published| published > self.start) {
            return Err("arrived during this run");
        }
        if letter.redrives() >= self.arguments.max_redrives {
            return Err("has been redriven too often (--max-redrives)");
        }
        let topic = match &self.topic {
            Some(topic) => topic.clone(),
            None => self.source(letter).await?,
        };
        if self.refused.contains(&topic) {
            return Err(REFUSED);
        }
        if self.publishers.len() >= MAX_TOPICS && !self.publishers.contains_key(&topic) {
            return Err("came from yet another topic, and one run publishes to 100 at most");
        }
        Ok((topic, letter.copy()?))
    }

    async fn source(&mut self, letter: &DeadLetter) -> Result<String, &'static str> {
        let source = letter.source().ok_or("does not name its source (--topic)")?;
        let (Source::Topic(name) | Source::Subscription(name)) = &source;
        if !name.starts_with(&self.project) {
            return Err("came from another project (--topic)");
        }
        match source {
            Source::Topic(topic) => Ok(topic),
            Source::Subscription(name) => {
                let topic = match self.topics.get(&name) {
                    Some(topic) => topic.clone(),
                    None => {
                        let topic = self.topic_of(&name).await;
                        self.topics.insert(name, topic.clone());
                        topic
                    }
                };
                topic.ok_or("came from a subscription that does not exist (--topic)")
            }
        }
    }

    /// The topic of a subscription: from the topology, or else from Pub/Sub.
    async fn topic_of(&self, name: &str) -> Option<String> {
        let (project, short) = name.split_once("/subscriptions/")?;
        if let Some(declared) = self.pubsub.topology.subscription(short) {
            return Some(format!("{project}/topics/{}", declared.topic));
        }
        let found = self.admin.get_subscription().set_subscription(name).send().await.ok()?;
        Some(found.topic).filter(|topic| topic.starts_with(&self.project))
    }

    fn publisher(&mut self, topic: &str) -> &Publisher {
        self.publishers.entry(topic.to_owned()).or_insert_with(|| self.client.publisher(topic).build())
    }
}

/// Counts of redriven dead letters and of those that stay.
#[derive(Debug, Default)]
struct Tally {
    /// By topic.
    redriven: BTreeMap<String, u64>,
    /// By reason.
    stay: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn print(&self, arguments: &Redrive, subscription: &str) -> Result<()> {
        let total: u64 = self.redriven.values().sum();
        if arguments.json {
            let value = json!({"subscription": subscription, "dryRun": arguments.dry_run, "redriven": total,
                "topics": self.redriven, "stay": self.stay});
            println!("{value}");
            return Ok(());
        }
        let verb = if arguments.dry_run { "would publish" } else { "published" };
        let letters =
            |count: u64| if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") };
        println!("{verb} {} of {subscription}", letters(total));
        for (topic, count) in &self.redriven {
            println!("  {count} to {topic}");
        }
        for (why, count) in &self.stay {
            println!("  {} kept: {why}", letters(*count));
        }
        Ok(())
    }
}
