//! Topics and subscriptions, created and changed through Pub/Sub's API.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use deploy::plan::{self, Action};
use deploy::resources::Resource;
use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_pubsub::Error;
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{ExpirationPolicy, PushConfig, Subscription, Topic};
use google_cloud_wkt::FieldMask;
use infra::error_chain;
use pubsub::Handle;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::declared::{self, Declared};

/// How long Pub/Sub may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Admin {
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    /// `HOST:PORT`
    pub(super) address: String,
    /// The local Pub/Sub of this process, if Pub/Sub is not another process.
    pub(super) local: Option<Handle>,
}

impl Admin {
    pub(super) async fn connect(address: &str, local: Option<Handle>) -> Result<Self> {
        function::clients::use_ring();
        let reached = timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let why = match reached {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer in {} s", CONNECT_TIMEOUT.as_secs())),
        };
        if let Some(why) = why {
            bail!(
                "no Pub/Sub at {address}: {why}\n  help: start it first, or leave out --bus to have one in this process"
            );
        }
        let (url, what) = (format!("http://{address}"), || format!("making a client for {address}"));
        let credentials = anonymous::Builder::new().build();
        let topics = TopicAdmin::builder().with_endpoint(&url).with_credentials(credentials.clone());
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(&url).with_credentials(credentials);
        Ok(Self {
            topics: topics.with_retry_policy(NeverRetry).build().await.with_context(what)?,
            subscriptions: subscriptions.with_retry_policy(NeverRetry).build().await.with_context(what)?,
            address: address.to_owned(),
            local,
        })
    }

    /// Creates and changes everything as it is declared now, and deletes what was declared `before` and is not any
    /// more. Returns what was done.
    pub(super) async fn apply(&self, before: &Declared, now: &Declared) -> Result<Vec<String>> {
        let mut done = Vec::new();
        for topic in &now.topics {
            let was = before.topics.iter().find(|was| was.id == topic.id);
            done.extend(self.topic(topic, was).await?);
        }
        let gone = before.subscriptions.iter().filter(|was| now.subscriptions.iter().all(|is| is.name() != was.name()));
        for subscription in gone {
            self.delete_subscription(subscription.name()).await?;
            done.push(format!("deleted {}", subscription.resource.id));
        }
        for subscription in &now.subscriptions {
            let was = before.subscriptions.iter().find(|was| was.name() == subscription.name());
            done.extend(self.subscription(subscription, was.map(|was| &was.resource)).await?);
        }
        for topic in before.topics.iter().filter(|was| now.topics.iter().all(|is| is.id != was.id)) {
            match self.topics.delete_topic().set_topic(&topic.id.name).send().await {
                Err(error) if !missing(&error) => return Err(self.failed("deleting", &topic.id.name, &error)),
                _ => done.push(format!("deleted {}", topic.id)),
            }
        }
        Ok(done)
    }

    async fn topic(&self, resource: &Resource, was: Option<&Resource>) -> Result<Option<String>> {
        let name = &resource.id.name;
        let found = match self.topics.get_topic().set_topic(name).send().await {
            Ok(found) => serde_json::to_value(found)?,
            Err(error) if missing(&error) => {
                let topic = serde_json::from_value::<Topic>(resource.body.clone())?.set_name(name);
                let made = self.topics.create_topic().with_request(topic).send().await;
                made.map_err(|error| self.failed("creating", name, &error))?;
                return Ok(Some(format!("created {}", resource.id)));
            }
            Err(error) => return Err(self.failed("reading", name, &error)),
        };
        let Some((body, fields)) = update(resource, was, &found) else { return Ok(None) };
        let topic = serde_json::from_value::<Topic>(body)?.set_name(name);
        let request = self.topics.update_topic().set_topic(topic).set_update_mask(mask(&fields));
        request.send().await.map_err(|error| self.failed("changing", name, &error))?;
        Ok(Some(format!("changed {}: {}", resource.id, fields.join(", "))))
    }

    async fn subscription(&self, declared: &declared::Subscription, was: Option<&Resource>) -> Result<Option<String>> {
        let (resource, name) = (&declared.resource, declared.name());
        let found = match self.subscriptions.get_subscription().set_subscription(name).send().await {
            Ok(found) => serde_json::to_value(found)?,
            Err(error) if missing(&error) => {
                self.create(declared).await?;
                return Ok(Some(format!("created {}", resource.id)));
            }
            Err(error) => return Err(self.failed("reading", name, &error)),
        };
        if let Action::Replace { why, .. } = plan::compare(resource, &found) {
            self.delete_subscription(name).await?;
            self.create(declared).await?;
            return Ok(Some(format!("replaced {}: {why}", resource.id)));
        }
        let Some((body, fields)) = update(resource, was, &found) else { return Ok(None) };
        let subscription = serde_json::from_value::<Subscription>(body)?.set_name(name);
        let request = self.subscriptions.update_subscription().set_subscription(subscription);
        let updated = request.set_update_mask(mask(&fields)).send().await;
        updated.map_err(|error| self.failed("changing", name, &error))?;
        Ok(Some(format!("changed {}: {}", resource.id, fields.join(", "))))
    }

    async fn create(&self, declared: &declared::Subscription) -> Result<()> {
        let name = declared.name();
        let subscription = serde_json::from_value::<Subscription>(declared.resource.body.clone())?.set_name(name);
        let made = self.subscriptions.create_subscription().with_request(subscription).send().await;
        made.map_err(|error| self.failed("creating", name, &error))?;
        if let Some(local) = self.local.as_ref().filter(|_| declared.eventarc) {
            local.set_eventarc(name, true).with_context(|| format!("making {name} that of an Eventarc trigger"))?;
        }
        Ok(())
    }

    async fn delete_subscription(&self, name: &str) -> Result<()> {
        match self.subscriptions.delete_subscription().set_subscription(name).send().await {
            Err(error) if !missing(&error) => Err(self.failed("deleting", name, &error)),
            _ => Ok(()),
        }
    }

    /// Has a subscription push to this address, and retry failed messages at once; without an address its messages
    /// wait.
    pub(super) async fn point(&self, subscription: &declared::Subscription, endpoint: Option<&str>) -> Result<()> {
        let name = subscription.name();
        let config = match endpoint {
            Some(endpoint) => {
                let mut config = subscription.push.clone();
                config.insert("pushEndpoint".to_owned(), endpoint.into());
                serde_json::from_value::<PushConfig>(Value::Object(config))?
            }
            None => PushConfig::new(),
        };
        let request = self.subscriptions.modify_push_config().set_subscription(name).set_push_config(config);
        let pointed = request.send().await;
        pointed.map_err(|error| self.failed("changing the push endpoint of", name, &error))?;
        if let Some(local) = self.local.as_ref().filter(|_| endpoint.is_some()) {
            local.retry_now(name).with_context(|| format!("delivering the messages of {name}"))?;
        }
        Ok(())
    }

    /// Creates a subscription for the time of this run. If the run is killed, Pub/Sub deletes the subscription after a
    /// day.
    pub(super) async fn tap(&self, topic: &str, name: &str) -> Result<()> {
        let [day, shortest] = [86_400, 600].map(|seconds| google_cloud_wkt::Duration::clamp(seconds, 0));
        let subscription = Subscription::new()
            .set_name(name)
            .set_topic(topic)
            .set_message_retention_duration(shortest)
            .set_expiration_policy(ExpirationPolicy::new().set_ttl(day));
        match self.subscriptions.create_subscription().with_request(subscription).send().await {
            Err(error) if error.status().is_none_or(|status| status.code != Code::AlreadyExists) => {
                Err(self.failed("creating", name, &error))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn untap(&self, name: &str) -> Result<()> {
        self.delete_subscription(name).await
    }

    fn failed(&self, what: &str, name: &str, error: &Error) -> anyhow::Error {
        anyhow::anyhow!("{what} {name} at {}: {}", self.address, error_chain(error))
    }
}

/// The body to send, and its fields that differ from those found; `None` if none do. Fields that were declared before
/// and are not any more get their defaults again.
fn update(resource: &Resource, was: Option<&Resource>, found: &Value) -> Option<(Value, Vec<String>)> {
    let changes = match plan::compare(resource, found) {
        Action::Update(changes) => changes,
        _ => Vec::new(),
    };
    let top = |path: &str| path.split(['.', '[']).next().unwrap_or_default().to_owned();
    let mut fields: Vec<String> = changes.iter().map(|change| top(&change.path)).collect();
    let mut body = plan::merged(found, &resource.body);
    for key in was.and_then(|was| was.body.as_object()).into_iter().flatten().map(|(key, _)| key) {
        if resource.body.get(key).is_none() {
            body.as_object_mut()?.remove(key);
            fields.push(key.clone());
        }
    }
    fields.dedup();
    (!fields.is_empty()).then_some((body, fields))
}

/// A field mask, which has names in snake case.
fn mask(fields: &[String]) -> FieldMask {
    let snake = |field: &String| {
        let mut name = String::new();
        for c in field.chars() {
            if c.is_ascii_uppercase() {
                name.push('_');
            }
            name.push(c.to_ascii_lowercase());
        }
        name
    };
    FieldMask::default().set_paths(fields.iter().map(snake))
}

fn missing(error: &Error) -> bool {
    error.status().is_some_and(|status| status.code == Code::NotFound)
}

#[cfg(test)]
mod tests {
    use deploy::resources::{Id, Kind};
    use serde_json::json;

    use super::*;

    fn resource(body: Value) -> Resource {
        Resource::new(Id::new(Kind::Subscription, "projects/p/subscriptions/s"), body)
    }

    #[test]
    fn fields_that_are_declared_no_more_get_their_defaults_back() {
        let was = resource(json!({"topic": "t", "ackDeadlineSeconds": 60, "retryPolicy": {"minimumBackoff": "1s"}}));
        let now = resource(json!({"topic": "t", "ackDeadlineSeconds": 30}));
        let found = json!({"topic": "t", "ackDeadlineSeconds": 60, "retryPolicy": {"minimumBackoff": "1s"}, "labels": {"a": "b"}});
        let (body, fields) = update(&now, Some(&was), &found).unwrap();
        assert_eq!(body, json!({"topic": "t", "ackDeadlineSeconds": 30, "labels": {"a": "b"}}));
        assert_eq!(mask(&fields).paths, ["ack_deadline_seconds", "retry_policy"]);
        assert!(update(&was, Some(&was), &found).is_none());
    }
}
