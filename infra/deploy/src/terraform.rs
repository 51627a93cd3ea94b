//! The topology as Terraform JSON, <https://developer.hashicorp.com/terraform/language/syntax/json>.
//!
//! Resources and arguments are those of the providers `hashicorp/google` and, for services and Pub/Sub's service agent,
//! `hashicorp/google-beta` 7.15: a service from an archive without a build (`source_code`) is in beta there. What no resource can say, the dead-letter policy
//! and deadlines of the subscription that Eventarc makes for a trigger, is the output `after_apply`: commands to run once.

mod access;
mod pubsub;
mod service;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use infra::topology::{PROJECT, Topology};

/// The first providers that know all of this.
const PROVIDER: &str = ">= 7.15";

const ABOUT: &str = "Made by `cargo xtask export`. Build the archive with `cargo xtask build`, then: terraform init, \
    terraform apply -var project=ID -var region=NAME -var archive=FILE. Terraform cannot set up the subscription that Eventarc \
    makes for a trigger: run what the output after_apply says, or it gives events up after a day, with no dead letter. \
    `cargo xtask deploy` does that itself.";

/// The topology as the contents of a file `*.tf.json`, with the variables `project`, `region` and `archive`.
pub fn export(topology: &Topology) -> Value {
    let mut document = Document::new(topology);
    document.apis();
    document.archive();
    document.topics();
    document.subscriptions();
    document.services();
    document.access();
    document.finish()
}

/// The file, in the making.
struct Document<'t> {
    topology: &'t Topology,
    /// By type, then by name within the file.
    resources: BTreeMap<&'static str, Map<String, Value>>,
    /// The names within the file of declared names, by what is declared.
    names: BTreeMap<(&'static str, String), String>,
    after_apply: Vec<String>,
}

impl<'t> Document<'t> {
    fn new(topology: &'t Topology) -> Self {
        let topics = topology.topics.iter().map(|topic| ("google_pubsub_topic", topic.name.as_str()));
        let subscriptions = topology.subscriptions.iter().map(|s| ("google_pubsub_subscription", s.name.as_str()));
        let services = topology.services.iter().map(|service| ("google_cloud_run_v2_service", service.name.as_str()));
        let accounts =
            topology.service_accounts.iter().map(|account| ("google_service_account", account.name.as_str()));
        let mut names: BTreeMap<(&'static str, String), String> = BTreeMap::new();
        for (kind, declared) in topics.chain(subscriptions).chain(services).chain(accounts) {
            let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
            let mut name: String = declared.chars().map(plain).collect();
            while names.iter().any(|((other, _), taken)| *other == kind && *taken == name) {
                name.push('_');
            }
            names.insert((kind, declared.to_owned()), name);
        }
        Self { topology, resources: BTreeMap::new(), names, after_apply: Vec::new() }
    }

    fn add(&mut self, kind: &'static str, name: &str, body: Value) {
        let body = without_nulls(body);
        let named = self.resources.entry(kind).or_default();
        let mut name = name.to_owned();
        while named.get(&name).is_some_and(|other| *other != body) {
            name.push('_');
        }
        named.insert(name, body);
    }

    /// The name within the file of what is declared under this name.
    fn name(&self, kind: &'static str, declared: &str) -> &str {
        self.names.get(&(kind, declared.to_owned())).map_or("", String::as_str)
    }

    /// An attribute of what is declared under this name.
    fn attribute(&self, kind: &'static str, declared: &str, attribute: &str) -> String {
        format!("${{{kind}.{}.{attribute}}}", self.name(kind, declared))
    }

    fn topic(&self, declared: &str) -> String {
        self.attribute("google_pubsub_topic", declared, "id")
    }

    /// The email of a declared account; another is an email already.
    fn email(&self, account: &str) -> String {
        match account.contains('@') {
            true => literal(account),
            false => self.attribute("google_service_account", account, "email"),
        }
    }

    fn apis(&mut self) {
        let secrets = self.topology.declares_secrets();
        let apis = ["cloudresourcemanager", "eventarc", "iam", "pubsub", "run", "serviceusage", "storage"];
        for api in apis.into_iter().chain(secrets.then_some("secretmanager")) {
            let body = json!({"service": format!("{api}.googleapis.com"), "disable_on_destroy": false});
            self.add("google_project_service", api, body);
        }
    }

    /// The bucket of the archive: the declared one, or one that exists.
    fn bucket(&self) -> &'static str {
        match self.topology.archive {
            Some(_) => "${google_storage_bucket.archive.name}",
            None => "${var.archive_bucket}",
        }
    }

    fn archive(&mut self) {
        if let Some(archive) = &self.topology.archive {
            let rules = self.topology.expiries().into_iter().map(|(prefix, days)| {
                json!({"action": {"type": "Delete"}, "condition": {"age": days, "matches_prefix": [literal(prefix)]}})
            });
            let rules: Vec<Value> = rules.collect();
            let bucket = json!({
                "name": in_project(&archive.bucket),
                "lifecycle_rule": (!rules.is_empty()).then_some(rules),
                "location": "${var.region}",
                "uniform_bucket_level_access": true,
                "public_access_prevention": "enforced",
                // What the function writes there is unknown to Terraform, and would keep the bucket from going.
                "force_destroy": true,
                "soft_delete_policy": {"retention_duration_seconds": archive.soft_delete.unwrap_or_default().as_secs()},
                "depends_on": ["google_project_service.storage"],
            });
            self.add("google_storage_bucket", "archive", bucket);
        }
        let object = json!({
            "//": "Named by its digest, and made before the one before it goes: a revision must find its archive.",
            "bucket": self.bucket(),
            // A gzip file begins with 1f 8b 08.
            "name": "${filesha256(var.archive)}.${substr(filebase64(var.archive), 0, 4) == \"H4sI\" ? \"tar.gz\" : \"zip\"}",
            "source": "${var.archive}",
            "lifecycle": {"create_before_destroy": true},
        });
        self.add("google_storage_bucket_object", "archive", object);
    }

    fn finish(self) -> Value {
        let mut outputs = self.outputs();
        if !self.after_apply.is_empty() {
            outputs["after_apply"] = json!({
                "description": "Run once after every apply that makes a trigger: gives the subscription that Eventarc made what is declared for it.",
                "value": self.after_apply,
            });
        }
        let variable = |text: &str| json!({"type": "string", "description": text});
        let bucket = self.topology.archive.is_none().then(|| variable("The bucket that the archive goes to"));
        let variables = json!({
            "archive_bucket": bucket,
            "project": variable("The project's id"),
            "region": variable("The region of services, triggers and the bucket, such as europe-west1"),
            "archive": variable("The archive that `cargo xtask build` printed"),
        });
        let provider = json!({"project": "${var.project}", "region": "${var.region}"});
        let providers = json!({
            "google": {"source": "hashicorp/google", "version": PROVIDER},
            "google-beta": {"source": "hashicorp/google-beta", "version": PROVIDER},
        });
        json!({
            "//": ABOUT,
            "terraform": {"required_version": ">= 1.5", "required_providers": providers},
            "provider": {"google": provider, "google-beta": provider},
            "variable": without_nulls(variables),
            "resource": self.resources,
            "output": outputs,
        })
    }

    /// The names that `cargo xtask outputs` prints, of the first service and what feeds it.
    fn outputs(&self) -> Value {
        let Topology { topics, subscriptions, services, .. } = self.topology;
        let service = services.first();
        let fed = service.and_then(|service| self.topology.feeds(&service.name).first().map(|feed| feed.topic));
        let topic = fed.or(topics.first().map(|topic| topic.name.as_str()));
        let read = subscriptions.iter().find(|subscription| Some(subscription.topic.as_str()) == topic);
        let subscription = read.or(subscriptions.first());
        let named = [
            ("topic_name", "google_pubsub_topic", topic),
            ("subscription_name", "google_pubsub_subscription", subscription.map(|s| s.name.as_str())),
            ("cloud_function_name", "google_cloud_run_v2_service", service.map(|s| s.name.as_str())),
        ];
        let mut outputs = Map::new();
        for (output, kind, declared) in named {
            if let Some(declared) = declared {
                outputs.insert(output.to_owned(), json!({"value": self.attribute(kind, declared, "name")}));
            }
        }
        for service in services {
            let url = self.attribute("google_cloud_run_v2_service", &service.name, "uri");
            let name = self.name("google_cloud_run_v2_service", &service.name);
            outputs.insert(format!("service_url_{name}"), json!({"value": url}));
        }
        Value::Object(outputs)
    }
}

/// Text in which Terraform sees no template: <https://developer.hashicorp.com/terraform/language/expressions/strings>.
fn literal(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// The same, with the project's id where the declaration leaves room for it.
fn in_project(text: &str) -> String {
    let parts: Vec<_> = text.split(PROJECT).map(literal).collect();
    parts.join("${var.project}")
}

fn labels(labels: &BTreeMap<String, String>) -> Option<Value> {
    (!labels.is_empty()).then(|| json!(labels))
}

/// What is not declared is not written: it keeps the default.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}
