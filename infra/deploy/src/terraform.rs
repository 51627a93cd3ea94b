//! The topology as Terraform JSON, <https://developer.hashicorp.com/terraform/language/syntax/json>.
//!
//! It is rendered from the same [resources](crate::resources) as are deployed, by the tables that stand with each kind.
//! Resources and arguments are those of the providers `hashicorp/google` and, for services and Pub/Sub's service agent,
//! `hashicorp/google-beta` 7.15: a service from an archive without a build (`source_code`) is in beta there. What no
//! resource can say, the dead-letter policy and deadlines of the subscription that Eventarc creates for a trigger, is
//! the output `after_apply`: commands to run once.

mod access;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::resources::export::{ARCHIVE_BUCKET, NUMBER, PROJECT, REGION, SUBSCRIPTION_ATTRIBUTE};
use crate::resources::{Context, Id, Kind, Resource, Target, declared, token_grant_command, unsigned_callers};
use infra::topology::{Archive, ArchiveFormat, Service, Topology};
use render::{AGENT, Names, literal, plain};

/// The first providers that know all of this.
const PROVIDER_VERSION: &str = ">= 7.15";

const FILE_COMMENT: &str = "Made by `cargo xtask export`. Build the archive with `cargo xtask build`, then: terraform init, \
    terraform apply -var project=ID -var region=NAME -var archive=FILE. Terraform cannot set up the subscription that \
    Eventarc makes for a trigger: run what the output after_apply says, or it gives events up after a day, with no dead \
    letter. \
    `cargo xtask deploy` does that itself.";

/// The topology as the contents of a file `*.tf.json`, with the variables `project`, `region` and `archive`.
pub fn export(topology: &Topology) -> Value {
    // The resources are those of a project whose id, number and region are variables.
    let [project, number, region] = [PROJECT, NUMBER, REGION].map(str::to_owned);
    let context = Context { project, number, region, archive: None };
    let mut placed = topology.clone();
    // An archive is always uploaded: to the declared bucket, or to one that exists.
    placed.archive.get_or_insert_with(|| Archive {
        bucket: ARCHIVE_BUCKET.to_owned(),
        format: ArchiveFormat::default(),
        soft_delete: None,
    });
    let mut declared = declared(&placed, &context);
    declared.retain(|resource| resource.id.kind != Kind::Bucket || topology.archive.is_some());

    let mut document = Document::new(topology, &context, &declared);
    for resource in &declared {
        document.resource(resource);
    }
    document.unsigned_callers(&declared);
    document.finish()
}

/// The file, in the making.
struct Document<'t> {
    topology: &'t Topology,
    context: &'t Context,
    names: Names,
    /// The name of the bucket that the file creates.
    bucket: Option<String>,
    /// By type, then by name within the file.
    resources: BTreeMap<&'static str, Map<String, Value>>,
    after_apply: Vec<String>,
}

impl<'t> Document<'t> {
    fn new(topology: &'t Topology, context: &'t Context, declared: &[Resource]) -> Self {
        let bucket = declared.iter().find(|resource| resource.id.kind == Kind::Bucket);
        Self {
            topology,
            context,
            names: Names::new(declared, context),
            bucket: bucket.map(|bucket| bucket.id.name.clone()),
            resources: BTreeMap::new(),
            after_apply: Vec::new(),
        }
    }

    /// Adds a resource and what it needs to be granted.
    fn resource(&mut self, resource: &Resource) {
        let granted = self.grants(resource);
        if resource.id.kind == Kind::TriggerSubscription {
            self.subscription_command(resource);
        }
        let Some(block) = resource.id.kind.block() else { return };
        let mut body = self.names.render(resource, block);
        if let Some(service) = self.topology.service(resource.id.short()).filter(|_| resource.id.kind == Kind::Service)
        {
            self.add_settings(&mut body, service);
        }
        body.extend(self.depends_on(resource.id.kind, block.depends_on, &granted));
        // Each declared resource has a name of its own.
        self.add(block.resource, self.names.local(&resource.id).to_owned(), body);
    }

    /// Adds a resource of the file and returns its name; another one that has the name already is left as it is.
    fn add(&mut self, kind: &'static str, name: String, body: Map<String, Value>) -> String {
        let (mut name, body) = (name, Value::Object(body));
        let named = self.resources.entry(kind).or_default();
        while named.get(&name).is_some_and(|other| *other != body) {
            name.push('_');
        }
        named.insert(name.clone(), body);
        name
    }

    /// The needs of these kinds. `granted` are the grants that the resource itself needs.
    fn depends_on(&self, kind: Kind, needs: &[Kind], granted: &[(Target, String)]) -> Option<(String, Value)> {
        let mut all = Vec::new();
        for need in needs {
            match need {
                Kind::Api => {
                    all.push(format!(
                        "google_project_service.{}",
                        self.names.local(&Id::new(*need, kind.api().service()))
                    ));
                }
                Kind::Policy(target) => {
                    let granted = granted.iter().filter(|(granted, _)| granted == target);
                    let mut granted: Vec<String> = granted.map(|(_, name)| name.clone()).collect();
                    granted.sort_unstable();
                    granted.dedup();
                    all.extend(granted);
                }
                _ => {}
            }
        }
        (!all.is_empty()).then(|| ("depends_on".to_owned(), all.into()))
    }

    /// Says in a service's environment what the archive's declaration says too, under the names that they have here.
    fn add_settings(&self, body: &mut Map<String, Value>, service: &Service) {
        let project = &self.context.project;
        let results: Vec<String> = service.results.iter().map(|result| result.setting(project)).collect();
        let settings = [
            ("RESULTS", (!results.is_empty()).then(|| results.join(","))),
            ("LEDGER", service.ledger.as_ref().map(|ledger| ledger.setting(project))),
            ("DEAD_LETTER_TOPIC", service.dead_letter_topic.as_ref().map(|topic| self.context.topic(topic))),
        ];
        let declared = |name: &str| service.environment.contains_key(name) || service.secrets.contains_key(name);
        let settings = settings.into_iter().filter(|(name, _)| !declared(name));
        let settings = settings.filter_map(|(name, value)| Some(json!({"name": name, "value": plain(&value?)})));
        let variables = body.get_mut("template").map(|template| &mut template["containers"][0]["env"]);
        if let Some(variables) = variables.and_then(Value::as_array_mut) {
            // After the project.
            let rest = variables.split_off(1.min(variables.len()));
            variables.extend(settings);
            variables.extend(rest);
        }
    }

    /// What is declared for the subscription that Eventarc creates for a trigger, as a command of gcloud.
    fn subscription_command(&mut self, subscription: &Resource) {
        let body = &subscription.body;
        let text = |value: &Value| value.as_str().map(|text| self.names.text(text));
        let number = |value: &Value| value.as_u64().map(|number| number.to_string());
        let expiry = &body["expirationPolicy"];
        let (retry, dead_letter) = (&body["retryPolicy"], &body["deadLetterPolicy"]);
        let options = [
            ("ack-deadline", number(&body["ackDeadlineSeconds"])),
            ("message-retention-duration", text(&body["messageRetentionDuration"])),
            ("expiration-period", expiry.as_object().map(|_| text(&expiry["ttl"]).unwrap_or("never".to_owned()))),
            ("min-retry-delay", text(&retry["minimumBackoff"])),
            ("max-retry-delay", text(&retry["maximumBackoff"])),
            ("dead-letter-topic", text(&dead_letter["deadLetterTopic"])),
            ("max-delivery-attempts", number(&dead_letter["maxDeliveryAttempts"])),
        ];
        let options = options.into_iter().filter_map(|(name, value)| Some(format!(" --{name}={}", value?)));
        let options: String = options.collect();
        if !options.is_empty() {
            let trigger = Id::new(Kind::Trigger, subscription.id.name.clone());
            let name = self.names.attribute(&trigger, SUBSCRIPTION_ATTRIBUTE);
            self.after_apply.push(format!("gcloud pubsub subscriptions update {name}{options}"));
        }
    }

    /// Accounts that pushes and triggers use and that are declared nowhere: which project they belong to is not known
    /// here, so the grant that Pub/Sub signs tokens by is a command.
    fn unsigned_callers(&mut self, declared: &[Resource]) {
        for (_, email) in unsigned_callers(declared) {
            let command = token_grant_command(&literal(email), AGENT);
            if !self.after_apply.contains(&command) {
                self.after_apply.push(command);
            }
        }
        let agent = Id::new(Kind::ServiceAgent, self.context.pubsub_identity());
        if self.after_apply.iter().any(|command| command.contains(AGENT)) && !self.names.has(&agent) {
            let agent = Resource::new(agent, json!({}));
            self.names = Names::new(&[declared, std::slice::from_ref(&agent)].concat(), self.context);
            self.resource(&agent);
        }
    }

    fn finish(self) -> Value {
        let mut outputs = self.outputs();
        if !self.after_apply.is_empty() {
            outputs["after_apply"] = json!({
                "description": "Run once after every apply that makes a trigger: gives the subscription that Eventarc made what \
                    is declared for it.",
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
            "google": {"source": "hashicorp/google", "version": PROVIDER_VERSION},
            "google-beta": {"source": "hashicorp/google-beta", "version": PROVIDER_VERSION},
        });
        json!({
            "//": FILE_COMMENT,
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
        let topic = topic.map(|name| Id::new(Kind::Topic, self.context.topic(name)));
        let subscription =
            subscription.map(|found| Id::new(Kind::Subscription, self.context.subscription(&found.name)));
        let service_id = |service: &Service| Id::new(Kind::Service, self.context.service(&service.name));
        let named = [
            ("topic_name", topic),
            ("subscription_name", subscription),
            ("cloud_function_name", service.map(service_id)),
        ];
        let mut outputs = Map::new();
        for (output, id) in named {
            if let Some(id) = id {
                outputs.insert(output.to_owned(), json!({"value": self.names.attribute(&id, "name")}));
            }
        }
        for id in services.iter().map(service_id) {
            let output = format!("service_url_{}", self.names.local(&id));
            outputs.insert(output, json!({"value": self.names.attribute(&id, "uri")}));
        }
        Value::Object(outputs)
    }
}

/// What is not declared is not written: it keeps the default.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        other => other,
    }
}
