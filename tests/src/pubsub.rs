//! What a test does with a Pub/Sub, over REST.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use reqwest::Client;
use serde_json::{Value, json};

use crate::http::{client, ok, send};

/// Any Pub/Sub that speaks REST without credentials: an emulator or a local one.
#[derive(Clone, Debug)]
pub struct PubSub {
    host: String,
    project: String,
    client: Client,
}

/// A message as a subscription delivered it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Pub/Sub's id.
    pub id: String,
    /// The data, decoded.
    pub data: Bytes,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// Empty if none.
    pub ordering_key: String,
}

impl Received {
    /// One attribute; empty if there is none.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    /// The data as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.data)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.data)))
    }
}

/// Methods panic when the Pub/Sub answers with an error: the test has failed.
impl PubSub {
    /// The one at `HOST:PORT`.
    pub fn at(host: &str) -> Self {
        Self { host: host.to_owned(), project: "test-project".into(), client: client() }
    }

    /// The same, for the names of another project.
    #[must_use]
    pub fn in_project(mut self, project: &str) -> Self {
        project.clone_into(&mut self.project);
        self
    }

    /// `HOST:PORT`, as `PUBSUB_EMULATOR_HOST` takes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The project of all names here.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// `projects/P/topics/ID`.
    pub fn topic_name(&self, id: &str) -> String {
        format!("projects/{}/topics/{id}", self.project)
    }

    /// `projects/P/subscriptions/ID`.
    pub fn subscription_name(&self, id: &str) -> String {
        format!("projects/{}/subscriptions/{id}", self.project)
    }

    /// One call of the REST API, such as `POST`, `projects/P/topics/T:publish`; status and body.
    pub async fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let method = method.parse().unwrap_or_else(|error| panic!("{method}: {error}"));
        let request = self.client.request(method, self.url(path)).json(body);
        let (status, body) = send(request).await;
        (status, json_of(&body))
    }

    /// Creates a topic; returns its full name.
    pub async fn create_topic(&self, id: &str) -> String {
        let name = self.topic_name(id);
        ok(self.client.put(self.url(&name)).json(&json!({}))).await;
        name
    }

    /// Creates a topic and a pull subscription to it of the same id; returns both full names.
    pub async fn create_topic_and_subscription(&self, id: &str) -> (String, String) {
        let topic = self.create_topic(id).await;
        let subscription = self.create_pull(id, &topic).await;
        (topic, subscription)
    }

    /// Creates a pull subscription with ordering; returns its full name.
    pub async fn create_pull(&self, id: &str, topic: &str) -> String {
        self.create_subscription(id, topic, json!({"enableMessageOrdering": true})).await
    }

    /// Creates a push subscription to this URL; returns its full name.
    pub async fn create_push(&self, id: &str, topic: &str, endpoint: &str) -> String {
        self.create_subscription(id, topic, json!({"pushConfig": {"pushEndpoint": endpoint}})).await
    }

    /// Creates a subscription with these fields of the REST API beside its topic; returns its full name.
    pub async fn create_subscription(&self, id: &str, topic: &str, mut fields: Value) -> String {
        let name = self.subscription_name(id);
        fields["topic"] = json!(topic);
        ok(self.client.put(self.url(&name)).json(&fields)).await;
        name
    }

    /// Publishes one message; returns its id.
    pub async fn publish(&self, topic: &str, data: &[u8], attributes: &[(&str, &str)]) -> String {
        let attributes: BTreeMap<_, _> = attributes.iter().copied().collect();
        let message = json!({"data": BASE64_STANDARD.encode(data), "attributes": attributes});
        let ids = self.publish_messages(topic, &[message]).await;
        ids.into_iter().next().unwrap_or_else(|| panic!("no id for a message to {topic}"))
    }

    /// Publishes messages in the form of the REST API; returns their ids.
    pub async fn publish_messages(&self, topic: &str, messages: &[Value]) -> Vec<String> {
        let url = self.url(&format!("{topic}:publish"));
        let answer = ok(self.client.post(url).json(&json!({"messages": messages}))).await;
        let ids = &json_of(&answer)["messageIds"];
        ids.as_array().into_iter().flatten().filter_map(|id| Some(id.as_str()?.to_owned())).collect()
    }

    /// Pulls and acknowledges until `count` messages are there or `patience` is over; returns what came.
    pub async fn pull(&self, subscription: &str, count: usize, patience: Duration) -> Vec<Received> {
        let start = Instant::now();
        let mut received = Vec::new();
        while received.len() < count && start.elapsed() < patience {
            // `returnImmediately` is discouraged on the service; here it keeps an empty answer quick.
            let most = (count - received.len()).min(1000);
            let pull = json!({"maxMessages": most, "returnImmediately": true});
            let url = self.url(&format!("{subscription}:pull"));
            let answer = json_of(&ok(self.client.post(url).json(&pull)).await);
            let Some(messages) = answer["receivedMessages"].as_array() else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            received.extend(messages.iter().map(|message| read(&message["message"])));
            let ids: Vec<&Value> = messages.iter().map(|message| &message["ackId"]).collect();
            let url = self.url(&format!("{subscription}:acknowledge"));
            ok(self.client.post(url).json(&json!({"ackIds": ids}))).await;
        }
        received
    }

    /// The one message that the subscription holds.
    ///
    /// # Panics
    ///
    /// When none comes in 10 s.
    pub async fn pull_one(&self, subscription: &str) -> Received {
        let mut received = self.pull(subscription, 1, Duration::from_secs(10)).await;
        received.pop().unwrap_or_else(|| panic!("no message in {subscription}"))
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/v1/{name}", self.host)
    }
}

fn read(message: &Value) -> Received {
    let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
    let data = BASE64_STANDARD.decode(text("data"));
    Received {
        id: text("messageId"),
        data: data.unwrap_or_else(|error| panic!("{error}: {message}")).into(),
        attributes: message["attributes"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        ordering_key: text("orderingKey"),
    }
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}
