//! The few methods of Pub/Sub's REST API that the tests use.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

/// Pub/Sub's REST API at an address.
#[derive(Clone, Copy)]
pub(crate) struct Api(pub(crate) SocketAddr);

impl Api {
    /// `None` if the process is gone.
    pub(crate) fn try_call(self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        let body = body.to_string();
        let head = format!(
            "{method} /v1/projects/p/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
    }

    pub(crate) fn call(self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, path, body).unwrap();
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    pub(crate) fn topic(self, id: &str, body: &Value) {
        self.call("PUT", &format!("topics/{id}"), body);
    }

    pub(crate) fn subscription(self, id: &str, topic: &str, mut body: Value) {
        body["topic"] = format!("projects/p/topics/{topic}").into();
        self.call("PUT", &format!("subscriptions/{id}"), &body);
    }

    /// Publishes a message with the attribute `text`; returns its id.
    pub(crate) fn publish(self, topic: &str, text: &str, key: &str) -> String {
        let body = json!({"messages": [{"attributes": {"text": text}, "orderingKey": key}]});
        let answer = self.call("POST", &format!("topics/{topic}:publish"), &body);
        answer["messageIds"][0].as_str().unwrap().to_owned()
    }

    /// Pulls everything that is ready.
    pub(crate) fn pull(self, subscription: &str) -> Vec<Received> {
        let body = json!({"maxMessages": 1000, "returnImmediately": true});
        let mut received = Vec::new();
        loop {
            let answer = self.call("POST", &format!("subscriptions/{subscription}:pull"), &body);
            let Some(messages) = answer["receivedMessages"].as_array() else { return received };
            received.extend(messages.iter().map(|message| Received {
                text: message["message"]["attributes"]["text"].as_str().unwrap().to_owned(),
                id: message["message"]["messageId"].as_str().unwrap().to_owned(),
                attempt: message["deliveryAttempt"].as_u64().unwrap_or_default(),
                ack_id: message["ackId"].as_str().unwrap().to_owned(),
            }));
        }
    }

    pub(crate) fn acknowledge(self, subscription: &str, received: &[&Received]) {
        let ids: Vec<&str> = received.iter().map(|received| received.ack_id.as_str()).collect();
        self.call("POST", &format!("subscriptions/{subscription}:acknowledge"), &json!({"ackIds": ids}));
    }

    pub(crate) fn nack(self, subscription: &str, received: &[&Received]) {
        let ids: Vec<&str> = received.iter().map(|received| received.ack_id.as_str()).collect();
        let body = json!({"ackIds": ids, "ackDeadlineSeconds": 0});
        self.call("POST", &format!("subscriptions/{subscription}:modifyAckDeadline"), &body);
    }
}

#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) text: String,
    pub(crate) id: String,
    pub(crate) attempt: u64,
    pub(crate) ack_id: String,
}

pub(crate) fn texts(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.text.as_str()).collect()
}
