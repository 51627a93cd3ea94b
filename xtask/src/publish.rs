//! `cargo xtask publish`: messages from the command line, a file or standard input to a topic.
//!
//! - `input`: reads the messages, one at a time, and checks them against Pub/Sub's limits
//! - `claims`: puts data that is too long for a message into a bucket
//! - `report`: prints ids, progress and totals

mod claims;
mod input;
mod report;

use std::io::IsTerminal;

use anyhow::{Context, Result, anyhow};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model;
use tokio::sync::mpsc;

use crate::flags::Publish;
use crate::pubsub_client::{MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT, PubSubClient, pace, tick};
use claims::Claims;
use input::{NewMessage, Source};
use report::PublishReport;

/// Messages that are read ahead.
const MAX_READ_AHEAD_MESSAGES: usize = 4;

pub(crate) fn run(arguments: &Publish) -> Result<()> {
    let pubsub = PubSubClient::find(&arguments.target)?;
    let topic = topic(arguments, &pubsub)?;
    let source = Source::open(arguments)?;
    let total = source.check()?;
    let mut report = PublishReport::start(&topic, arguments.json, std::io::stderr().is_terminal(), total)?;
    let result = tokio::runtime::Runtime::new()?.block_on(publish(arguments, &pubsub, &topic, source, &mut report));
    report.end(result)
}

/// The given topic, or the one that the first service gets its messages from.
fn topic(arguments: &Publish, pubsub: &PubSubClient) -> Result<String> {
    if let Some(name) = &arguments.topic {
        return Ok(pubsub.topic(name));
    }
    let service = pubsub.topology.first_service();
    let feeds = service.map(|service| pubsub.topology.feeds(&service.name)).unwrap_or_default();
    let feed = feeds.first().ok_or_else(|| {
        anyhow!("the topology declares no service with a trigger or push subscription; name the topic with --topic")
    })?;
    Ok(pubsub.topic(feed.topic))
}

async fn publish(
    arguments: &Publish,
    pubsub: &PubSubClient,
    topic: &str,
    source: Source,
    report: &mut PublishReport,
) -> Result<()> {
    let publisher: Publisher = pubsub.publisher().await?.publisher(topic).build();
    let mut claims = Claims::new(pubsub);
    let (send, mut items) = mpsc::channel::<Result<NewMessage>>(MAX_READ_AHEAD_MESSAGES);
    // Not joined: the thread may be blocked on standard input after everything else has ended.
    std::thread::spawn(move || source.each(|item| send.blocking_send(item).is_ok()));
    let mut pace = pace(arguments.rate);
    let mut sent = FuturesOrdered::new();
    let mut bytes = 0;
    let mut failed = None;
    let mut reading = true;
    while reading || !sent.is_empty() {
        tokio::select! {
            Some((size, answer)) = sent.next() => {
                let (size, answer): (usize, Result<String, PublishError>) = (size, answer);
                bytes -= size;
                match answer {
                    Ok(id) => report.published(&id)?,
                    Err(error) => {
                        let what = format!("publishing to {topic}");
                        failed.get_or_insert_with(|| pubsub.failed(&what, &error));
                        reading = false;
                    }
                }
            }
            item = next(&mut pace, &mut items), if reading && sent.len() < MAX_IN_FLIGHT && bytes < MAX_BYTES_IN_FLIGHT => {
                let item = match item {
                    None => {
                        reading = false;
                        continue;
                    }
                    Some(Ok(item)) if item.fits() => Ok(item),
                    // Uploaded before the next message is read, so that messages of one ordering key keep their order.
                    Some(Ok(item)) => claims.put(item).await.inspect(|_| report.claimed()),
                    Some(Err(error)) => Err(error),
                };
                match item {
                    Ok(item) => {
                        let size = item.size();
                        bytes += size;
                        let answer = publisher.publish(message(item));
                        sent.push_back(async move { (size, answer.await) });
                    }
                    Err(error) => {
                        failed.get_or_insert(error);
                        reading = false;
                    }
                }
            }
        }
    }
    match failed {
        Some(error) => Err(error).context("stopped"),
        None => Ok(()),
    }
}

async fn next(
    pace: &mut Option<tokio::time::Interval>,
    items: &mut mpsc::Receiver<Result<NewMessage>>,
) -> Option<Result<NewMessage>> {
    tick(pace).await;
    items.recv().await
}

fn message(item: NewMessage) -> model::Message {
    model::Message::new().set_data(item.data).set_attributes(item.attributes).set_ordering_key(item.ordering_key)
}
