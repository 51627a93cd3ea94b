//! Subscriptions of this run to results and dead letters, for a Pub/Sub in another process, which reports no events.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use google_cloud_auth::credentials::anonymous;
use google_cloud_pubsub::client::Subscriber;
use google_cloud_pubsub::model::Message;
use tokio::sync::mpsc::Sender;

use super::admin::Admin;

/// A message, and the topic that it was published to.
pub(super) type Tapped = (String, Message);

pub(super) struct Taps {
    subscriber: Subscriber,
    /// Subscriptions by topic.
    names: BTreeMap<String, String>,
    send: Sender<Tapped>,
}

impl Taps {
    pub(super) async fn new(address: &str, send: Sender<Tapped>) -> Result<Self> {
        let builder = Subscriber::builder().with_endpoint(format!("http://{address}"));
        let subscriber = builder.with_credentials(anonymous::Builder::new().build()).build().await;
        let subscriber = subscriber.with_context(|| format!("making a client for {address}"))?;
        Ok(Self { subscriber, names: BTreeMap::new(), send })
    }

    /// Subscribes to these topics as well.
    pub(super) async fn open<'a>(&mut self, admin: &Admin, topics: impl Iterator<Item = &'a String>) -> Result<()> {
        for topic in topics {
            if self.names.contains_key(topic) {
                continue;
            }
            let (project, short) = topic.split_once("/topics/").unwrap_or(("", topic));
            let name = format!("{project}/subscriptions/xtask-dev-{}-{short}", std::process::id());
            admin.tap(topic, &name).await?;
            self.names.insert(topic.clone(), name.clone());
            let mut messages = self.subscriber.subscribe(name).build();
            let (topic, send) = (topic.clone(), self.send.clone());
            tokio::spawn(async move {
                while let Some(next) = messages.next().await {
                    // The client retries what may pass; after any other error the stream ends.
                    let Ok((message, handler)) = next else { continue };
                    handler.ack();
                    if send.send((topic.clone(), message)).await.is_err() {
                        return;
                    }
                }
            });
        }
        Ok(())
    }

    /// Deletes the subscriptions.
    pub(super) async fn close(self, admin: &Admin) {
        for name in self.names.values() {
            if let Err(error) = admin.untap(name).await {
                eprintln!("warning: {error:#}");
            }
        }
    }
}
