//! Publishing to one topic, bounded in bytes and time.
//!
//! The client's queue has no bound, keeps one background task for every ordering key it has seen, and stops a key after
//! a failure. Therefore a semaphore counts the bytes handed over until Pub/Sub has answered for them, the publisher is
//! replaced after [`MAX_KEYS`] keys, and a failed key is resumed at once, because here the message itself is
//! redelivered.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::client::Publisher;
use google_cloud_pubsub::error::PublishError;
use google_cloud_pubsub::model;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::SinkError;
use super::result::TaskResult;
use crate::clients::Clients;
use infra::error_chain;
use infra::limits::{MAX_DATA, MAX_ORDERING_KEY};

/// The bytes in flight to one topic; more wait.
const MAX_BYTES_IN_FLIGHT: usize = 32 << 20;
/// What a message costs beside its bytes, so that empty ones are bounded too.
const MESSAGE_OVERHEAD_BYTES: usize = 512;
/// Ordering keys that one publisher may see.
const MAX_KEYS: usize = 1024;
/// Messages in one request. One, so that a message that Pub/Sub refuses does not fail others, and none waits for
/// others: against the emulator 0.5 ms a message instead of 2 to 12, and 7,000 messages a second instead of 15,000,
/// both far more than a model makes.
const MESSAGES_PER_REQUEST: u32 = 1;

/// Pub/Sub calls the message invalid.
const REFUSED: &str = "result-refused";

/// One topic to publish to.
#[derive(Debug)]
pub(crate) struct Topic {
    name: String,
    clients: Arc<Clients>,
    bytes_in_flight: Arc<Semaphore>,
    current: Mutex<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    publisher: Publisher,
    keys: HashSet<String>,
}

impl Topic {
    /// `name` is `projects/P/topics/T`.
    pub(crate) fn new(name: &str, clients: &Arc<Clients>) -> Self {
        Self {
            name: name.to_owned(),
            clients: Arc::clone(clients),
            bytes_in_flight: Arc::new(Semaphore::new(MAX_BYTES_IN_FLIGHT)),
            current: Mutex::new(None),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Publishes a result as a CloudEvent in its attributes, with the input's ordering key.
    pub(super) async fn result(&self, result: &TaskResult<'_>) -> Result<(), SinkError> {
        let key = &result.input.ordering_key;
        let key = if key.len() <= MAX_ORDERING_KEY { key } else { "" };
        let attributes = result.attributes();
        match self.publish(result.body.clone(), attributes.clone(), key).await {
            // Perhaps because of the attributes of the input: the result is published without them.
            Err(SinkError::Permanent { reason: REFUSED, .. }) => {
                let bare = result.bare_attributes(&attributes);
                self.publish(result.body.clone(), bare, "").await
            }
            answer => answer,
        }
    }

    /// Publishes and waits for Pub/Sub's response, all within the clients' deadline.
    ///
    /// # Errors
    ///
    /// Permanent where there is more data than Pub/Sub takes (nothing is sent) or it calls the message invalid; else
    /// passing. Attributes and key are the caller's to bound.
    pub(crate) async fn publish(
        &self,
        data: Bytes,
        attributes: BTreeMap<String, String>,
        ordering_key: &str,
    ) -> Result<(), SinkError> {
        if data.len() > MAX_DATA {
            return Err(SinkError::Permanent {
                destination: self.name.clone(),
                reason: "result-too-large",
                detail: format!(
                    "{} bytes, and a Pub/Sub message holds at most {MAX_DATA}: split the work over more messages, or \
                     send results to a bucket",
                    data.len()
                ),
            });
        }
        let deadline = self.clients.deadline();
        let cost = cost(&data, &attributes, ordering_key);
        let message = model::Message::new().set_data(data).set_attributes(attributes).set_ordering_key(ordering_key);
        match timeout(deadline, self.send(message, cost)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.passing(format!(
                "no answer in {deadline:?}; check the network and whether the topic's service answers"
            ))),
        }
    }

    async fn send(&self, message: model::Message, cost: u32) -> Result<(), SinkError> {
        let permit = Arc::clone(&self.bytes_in_flight).acquire_many_owned(cost).await;
        let permit = permit.map_err(|_| self.passing("shutting down".into()))?;
        let key = message.ordering_key.clone();
        let publisher = self.publisher(&key).await?;
        let sent = publisher.publish(message);
        // In a task of its own: the bytes count until the client has released them, also when the caller has given up.
        let answer = tokio::spawn(async move {
            let answer = sent.await;
            if answer.is_err() && !key.is_empty() {
                publisher.resume_publish(key);
            }
            drop(permit);
            answer
        });
        match answer.await {
            Ok(Ok(_message_id)) => Ok(()),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.passing("the publish was cancelled".into())),
        }
    }

    async fn publisher(&self, key: &str) -> Result<Publisher, SinkError> {
        let client = self.clients.pubsub().await.map_err(|error| self.passing(error.to_string()))?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if !key.is_empty() && current.as_ref().is_some_and(|c| c.keys.len() >= MAX_KEYS && !c.keys.contains(key)) {
            // Publishes in flight hold the old publisher, which ends after the last of them.
            *current = None;
        }
        let current = current.get_or_insert_with(|| Current {
            publisher: client.publisher(&self.name).set_message_count_threshold(MESSAGES_PER_REQUEST).build(),
            keys: HashSet::new(),
        });
        if !key.is_empty() && !current.keys.contains(key) {
            current.keys.insert(key.to_owned());
        }
        Ok(current.publisher.clone())
    }

    /// Waits, within the deadline, until Pub/Sub has answered for everything that was handed over.
    pub(crate) async fn flush(&self) {
        let all = async {
            let publisher = {
                let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
                current.as_ref().map(|current| current.publisher.clone())
            };
            if let Some(publisher) = publisher {
                publisher.flush().await;
            }
            // Also those of replaced publishers.
            let _ = self.bytes_in_flight.acquire_many(MAX_BYTES_IN_FLIGHT as u32).await;
        };
        if timeout(self.clients.deadline(), all).await.is_err() {
            tracing::warn!(topic = self.name, "stopped with messages that Pub/Sub did not answer for");
        }
    }

    fn passing(&self, detail: String) -> SinkError {
        SinkError::Passing { destination: self.name.clone(), detail }
    }

    fn explain(&self, error: &PublishError) -> SinkError {
        let code = match error {
            PublishError::Rpc(error) => error.status().map(|status| status.code),
            _ => None,
        };
        let text = error_chain(error);
        match code {
            Some(Code::InvalidArgument) => {
                tracing::warn!(topic = self.name, error = text, "Pub/Sub calls a message invalid");
                SinkError::Permanent {
                    destination: self.name.clone(),
                    reason: REFUSED,
                    detail: "Pub/Sub calls the message invalid: check its attributes and size".into(),
                }
            }
            Some(Code::NotFound) => self.passing(format!("there is no such topic; create it ({text})")),
            Some(Code::PermissionDenied | Code::Unauthenticated) => self.passing(format!(
                "not allowed; grant this process's account roles/pubsub.publisher on the topic ({text})"
            )),
            _ => self.passing(text),
        }
    }
}

/// What a message counts for in [`MAX_BYTES_IN_FLIGHT`]: never more than the whole.
fn cost(data: &Bytes, attributes: &BTreeMap<String, String>, ordering_key: &str) -> u32 {
    let attributes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
    let cost = data.len() + attributes + ordering_key.len() + MESSAGE_OVERHEAD_BYTES;
    u32::try_from(cost.min(MAX_BYTES_IN_FLIGHT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::clients::Cloud;

    fn topic(host: String, deadline: Duration) -> Topic {
        let cloud = Cloud { pubsub_emulator: Some(host), ..Cloud::default() };
        let clients = Arc::new(Clients::with_deadline(cloud, deadline));
        Topic::new("projects/p/topics/some-topic", &clients)
    }

    #[tokio::test]
    async fn limits_are_kept_before_anything_is_sent() {
        let topic = topic("127.0.0.1:1".into(), Duration::from_secs(5));
        let big = Bytes::from(vec![b'1'; MAX_DATA + 1]);
        let error = topic.publish(big, BTreeMap::new(), "").await.unwrap_err();
        assert!(matches!(error, SinkError::Permanent { reason: "result-too-large", .. }), "{error}");
        assert!(topic.current.lock().unwrap().is_none());
    }

    #[tokio::test]
    async fn a_silent_service_costs_the_deadline_and_gives_the_room_back() {
        // Accepts connections and never answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let topic = topic(listener.local_addr().unwrap().to_string(), Duration::from_millis(200));
        for key in ["", "key"] {
            let error = topic.publish("{}".into(), BTreeMap::new(), key).await.unwrap_err();
            assert!(matches!(error, SinkError::Passing { .. }), "{error}");
        }
        // Ends only when the client has let go of the messages.
        let _ = topic.bytes_in_flight.acquire_many(MAX_BYTES_IN_FLIGHT as u32).await.unwrap();
    }

    #[tokio::test]
    async fn ordering_keys_do_not_pile_up() {
        let topic = topic("127.0.0.1:1".into(), Duration::from_secs(5));
        for n in 0..=MAX_KEYS {
            topic.publisher(&format!("key-{n}")).await.unwrap();
        }
        assert_eq!(topic.current.lock().unwrap().as_ref().unwrap().keys.len(), 1);
    }

    #[test]
    fn no_message_costs_more_than_there_is() {
        let data = Bytes::from(vec![0; MAX_BYTES_IN_FLIGHT + 1]);
        assert_eq!(cost(&data, &BTreeMap::new(), "") as usize, MAX_BYTES_IN_FLIGHT);
        assert_eq!(cost(&Bytes::new(), &BTreeMap::new(), "") as usize, MESSAGE_OVERHEAD_BYTES);
    }
}
