//! The banner that is shown when the services have started: what runs where, and commands to paste.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use infra::topology::{Feed, Topology};
use serde_json::{Value, json};

use super::declared::{Consumer, Declared};
use super::service::Service;

/// Everything that the banner tells.
pub(super) struct Banner<'a> {
    pub(super) topology: &'a Topology,
    pub(super) declared: &'a Declared,
    pub(super) services: &'a [Service],
    pub(super) project: &'a str,
    /// `HOST:PORT` of Pub/Sub.
    pub(super) pubsub_host: &'a str,
    /// Whether Pub/Sub runs in this process.
    pub(super) own: bool,
    /// The topology's file, if it is not the shipped one.
    pub(super) file: Option<&'a Path>,
    /// A sentence about what is watched for changes.
    pub(super) watched: &'a str,
    pub(super) notes: &'a [String],
}

fn short(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Banner<'_> {
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let (host, project) = (self.pubsub_host, self.project);
        let whose = if self.own { "" } else { ", which ran already" };
        let _ = writeln!(text, "\n{}{host}, project {project}{whose}. For other terminals:", head("Pub/Sub", 0));
        let _ = writeln!(text, "{}export {}", head("", 1), self.variables());
        for (n, topic) in self.declared.topics.iter().enumerate() {
            let _ = writeln!(text, "{}{}{}", head("topics", n), short(&topic.id.name), self.role(&topic.id.name));
        }
        for (n, subscription) in self.declared.subscriptions.iter().enumerate() {
            let name = short(subscription.name());
            let filter = subscription.filter.as_ref().map(|filter| format!(" ({filter})")).unwrap_or_default();
            let to = match &subscription.consumer {
                Consumer::Service(service) if subscription.eventarc && self.own => {
                    format!("{service}, as Eventarc pushes")
                }
                Consumer::Service(service) => service.clone(),
                Consumer::Endpoint(endpoint) => endpoint.clone(),
                Consumer::Pull => format!("pull subscribers: {}", self.reader(name, &subscription.topic)),
            };
            let _ = writeln!(text, "{}{name}: {}{filter} → {to}", head("subscriptions", n), short(&subscription.topic));
        }
        for (n, service) in self.services.iter().enumerate() {
            let location = match (&service.external, &service.current) {
                (Some(url), _) => {
                    format!("{url}, an external process; run it with\n{}{}", head("", 1), self.line(service))
                }
                (None, Some(process)) => {
                    let address = process.address.map(|address| format!("http://{address}")).unwrap_or_default();
                    let tokens = self.declared.identities.contains_key(service.name());
                    let tokens = if tokens { ", checks tokens" } else { "" };
                    format!("{address} (process {}{tokens})", process.id)
                }
                (None, None) => "not running, see above".to_owned(),
            };
            let _ = writeln!(text, "{}{}: {location}", head("services", n), service.name());
        }
        for (n, note) in self.notes.iter().enumerate() {
            let _ = writeln!(text, "{}{note}", head("notes", n));
        }
        if let Some(example) = self.example() {
            let _ = writeln!(text, "\nTry, in another terminal:\n{example}");
        }
        let _ = write!(text, "\n{}Ctrl-C ends everything.", self.watched);
        text
    }

    pub(super) fn json(&self) -> Value {
        let topics: Vec<&str> = self.declared.topics.iter().map(|topic| short(&topic.id.name)).collect();
        let subscriptions = self.declared.subscriptions.iter().map(|subscription| {
            let service = match &subscription.consumer {
                Consumer::Service(service) => Some(service),
                Consumer::Pull | Consumer::Endpoint(_) => None,
            };
            json!({"name": short(subscription.name()), "topic": short(&subscription.topic), "filter": subscription.filter,
                "service": service, "eventarc": subscription.eventarc && self.own})
        });
        let services = self.services.iter().map(|service| {
            let pid = service.current.as_ref().map(|process| process.id);
            json!({"name": service.name(), "url": service.endpoint(), "pid": pid})
        });
        json!({
            "type": "ready", "bus": self.pubsub_host, "project": self.project, "topics": topics,
            "subscriptions": subscriptions.collect::<Vec<_>>(), "services": services.collect::<Vec<_>>(),
            "notes": self.notes, "example": self.example(),
        })
    }

    fn variables(&self) -> String {
        format!("PUBSUB_EMULATOR_HOST={} GOOGLE_CLOUD_PROJECT={}", self.pubsub_host, self.project)
    }

    fn role(&self, topic: &str) -> &'static str {
        if self.declared.dead_letters.iter().any(|name| name == topic) {
            ", dead letters"
        } else if self.declared.results.iter().any(|name| name == topic) {
            ", results"
        } else {
            ""
        }
    }

    /// Arguments that name the topology; `env` is the flag for its environment.
    fn topology_arguments(&self, env: &str) -> String {
        let file = self.file.map(|file| format!(" --topology {}", quoted(&file.display().to_string())));
        let environment = self.topology.environment.as_ref().map(|environment| format!(" {env} {environment}"));
        [file, environment].into_iter().flatten().collect()
    }

    fn reader(&self, name: &str, topic: &str) -> String {
        if self.declared.dead_letters.iter().any(|dead| dead == topic) {
            format!("cargo xtask dlq list{}", self.topology_arguments("--env"))
        } else {
            format!("cargo run --{} --pull {name}", self.topology_arguments("--topology-environment"))
        }
    }

    fn line(&self, service: &Service) -> String {
        service.environment.line(&crate::topology::path(self.file))
    }

    /// A command that publishes a message for the first service that gets any.
    fn example(&self) -> Option<String> {
        let service = self.services.iter().find(|service| !self.topology.feeds(service.name()).is_empty())?;
        let feeds = self.topology.feeds(service.name());
        let (task, data) = match service.declaration.labels.as_slice() {
            [] => ("embed", "Pub/Sub carries the work"),
            _ => ("classify", "I was charged twice for one order"),
        };
        let task = ("task".to_owned(), task.to_owned());
        let (topic, attributes) =
            feeds.iter().find_map(|feed| Some((feed.topic, matching_attributes(feed, &task)?)))?;
        let attributes: Vec<String> = attributes
            .iter()
            .map(|(name, value)| format!("--attribute {}", quoted(&format!("{name}={value}"))))
            .collect();
        let (variables, attributes) = (self.variables(), attributes.join(" "));
        Some(format!("{variables} cargo xtask publish --topic {topic} {attributes} --data '{data}'"))
    }
}

/// Attributes that match the feed's filter: the wanted one, and one of the filter's own where that is enough.
fn matching_attributes(feed: &Feed<'_>, wanted: &(String, String)) -> Option<BTreeMap<String, String>> {
    let attributes = BTreeMap::from([wanted.clone()]);
    let Some(filter) = feed.filter.filter(|filter| !filter.matches(&attributes)) else { return Some(attributes) };
    let text = filter.to_string();
    let (name, value) = text.strip_prefix("attributes.")?.split_once(" = ")?;
    let mut attributes = attributes;
    attributes.insert(name.to_owned(), value.trim_matches('"').to_owned());
    filter.matches(&attributes).then_some(attributes)
}

/// Quoted for a shell where that is needed.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.=/:".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn head(title: &str, n: usize) -> String {
    format!("{:<15}", if n == 0 { title } else { "" })
}
