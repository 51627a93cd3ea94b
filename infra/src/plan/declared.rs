//! A topology as resources of one project, with bodies as the REST APIs take them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::policy::{self, Bindings};
use super::{DEPLOYMENT_LABEL, Id, Kind, Resource, Target, state};
use crate::topology::{
    DeadLetter, Delivery, Destination, Expiry, Push, PushTarget, Service, Subscription, Topology, Trigger,
};

/// The event type of a message on a topic.
const MESSAGE_PUBLISHED: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// Ubuntu 24.04 without a language: it runs the binary of the archive as it is.
/// <https://cloud.google.com/run/docs/configuring/services/runtime-base-images>
const BASE_IMAGE: &str = "osonly24";

/// The longest name of a revision.
const REVISION_LENGTH: usize = 63;

/// Where a topology is deployed to, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The project's id.
    pub project: String,
    /// The project's number, which the accounts of Google's own agents and the addresses of services contain; a word in its place
    /// while it is not known.
    pub number: String,
    /// The region of services, triggers and the bucket.
    pub region: String,
    /// What is deployed; `None` if it is not built yet.
    pub archive: Option<Archive>,
}

/// A built archive, by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Hexadecimal SHA-256 of the zip.
    pub sha256: String,
}

impl Archive {
    /// The object's name in the bucket.
    pub fn object(&self) -> String {
        format!("{ARCHIVES}{}.zip", self.sha256)
    }
}

/// The folder of the archives in the bucket.
pub const ARCHIVES: &str = "archives/";

impl Context {
    /// `projects/P/topics/T`
    pub fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    /// `projects/P/subscriptions/S`
    pub fn subscription(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.project)
    }

    /// `projects/P/locations/R/services/S`
    pub fn service(&self, name: &str) -> String {
        format!("projects/{}/locations/{}/services/{name}", self.project, self.region)
    }

    /// `projects/P/locations/R/triggers/T`. A service has one trigger at most, so the trigger has the service's name.
    pub fn trigger(&self, service: &str) -> String {
        format!("projects/{}/locations/{}/triggers/{service}", self.project, self.region)
    }

    /// `projects/P/serviceAccounts/EMAIL`
    pub fn service_account(&self, email: &str) -> String {
        format!("projects/{}/serviceAccounts/{email}", self.project)
    }

    /// The email of a declared account; an email stays as it is.
    pub fn email(&self, account: &str) -> String {
        if account.contains('@') {
            return account.to_owned();
        }
        // `example.com:project` becomes `project.example.com`.
        let domain = match self.project.split_once(':') {
            Some((domain, project)) => format!("{project}.{domain}"),
            None => self.project.clone(),
        };
        format!("{account}@{domain}.iam.gserviceaccount.com")
    }

    /// The address of a service, which Cloud Run makes of its name.
    /// <https://cloud.google.com/run/docs/triggering/https-request#deterministic>
    pub fn url(&self, service: &str) -> String {
        format!("https://{service}-{}.{}.run.app", self.number, self.region)
    }

    /// Pub/Sub's own agent, which forwards dead letters.
    fn pubsub_agent(&self) -> String {
        format!("serviceAccount:service-{}@gcp-sa-pubsub.iam.gserviceaccount.com", self.number)
    }

    /// The name of a service's next revision: Cloud Run's own form, with the archive's digest. `generation` is the service's own, 0
    /// before it exists; it never comes back, so no name is used twice.
    pub fn revision(&self, service: &str, generation: u64) -> String {
        let digest = self.archive.as_ref().map_or("", |archive| archive.sha256.as_str());
        let name = format!("{service}-{:05}-", generation + 1);
        let room = REVISION_LENGTH.saturating_sub(name.len()).min(12);
        format!("{name}{}", &digest[..room.min(digest.len())])
    }
}

/// Everything that a topology declares, each after what it needs.
pub fn declared(topology: &Topology, context: &Context) -> Vec<Resource> {
    Declared { topology, context }.resources()
}

struct Declared<'a> {
    topology: &'a Topology,
    context: &'a Context,
}

impl Declared<'_> {
    fn resources(&self) -> Vec<Resource> {
        let mut all = self.apis();
        all.extend(self.accounts());
        all.extend(self.topics());
        all.extend(self.bucket());
        let (early, late): (Vec<_>, Vec<_>) = self
            .policies()
            .into_iter()
            .partition(|policy| matches!(policy.id.kind, Kind::Policy(Target::Topic | Target::Bucket)));
        all.extend(early);
        all.extend(self.topology.services.iter().map(|service| self.service(service)));
        let (invokers, late): (Vec<_>, Vec<_>) =
            late.into_iter().partition(|policy| policy.id.kind == Kind::Policy(Target::Service));
        all.extend(invokers);
        all.extend(self.topology.subscriptions.iter().map(|subscription| self.subscription(subscription)));
        for service in &self.topology.services {
            if let Some(trigger) = &service.trigger {
                all.extend(self.trigger(service, trigger));
            }
        }
        all.extend(late);
        all
    }

    fn resource(&self, kind: Kind, name: String, body: Value, needs: Vec<Id>) -> Resource {
        let mut needs = needs;
        let api = match kind {
            Kind::ServiceAccount => Some("iam.googleapis.com"),
            Kind::Bucket => Some("storage.googleapis.com"),
            Kind::Topic => Some("pubsub.googleapis.com"),
            Kind::Service => Some("run.googleapis.com"),
            Kind::Trigger => Some("eventarc.googleapis.com"),
            _ => None,
        };
        needs.extend(api.map(|api| Id::new(Kind::Api, api)));
        Resource { id: Id::new(kind, name), body, creation: json!({}), needs }
    }

    fn apis(&self) -> Vec<Resource> {
        let mut apis = vec!["cloudresourcemanager", "iam", "pubsub", "serviceusage"];
        if !self.topology.services.is_empty() {
            apis.push("run");
        }
        if self.topology.archive.is_some() {
            apis.push("storage");
        }
        if self.topology.services.iter().any(|service| service.trigger.is_some()) {
            apis.push("eventarc");
        }
        apis.sort_unstable();
        let enabled = json!({"state": "ENABLED"});
        let api = |api| self.resource(Kind::Api, format!("{api}.googleapis.com"), enabled.clone(), Vec::new());
        apis.into_iter().map(api).collect()
    }

    fn accounts(&self) -> Vec<Resource> {
        let accounts = self.topology.service_accounts.iter().map(|account| {
            let email = self.context.email(&account.name);
            let body = json!({
                "displayName": account.display_name.as_deref().unwrap_or(&account.name),
                "description": state::description(&self.topology.name),
            });
            self.resource(Kind::ServiceAccount, self.context.service_account(&email), body, Vec::new())
        });
        accounts.collect()
    }

    fn topics(&self) -> Vec<Resource> {
        let topics = self.topology.topics.iter().map(|topic| {
            let mut body = Map::from_iter([("labels".to_owned(), self.labels(&topic.labels))]);
            put(&mut body, "messageRetentionDuration", topic.retention.map(seconds));
            self.resource(Kind::Topic, self.context.topic(&topic.name), body.into(), Vec::new())
        });
        topics.collect()
    }

    fn bucket(&self) -> Vec<Resource> {
        let Some(archive) = &self.topology.archive else { return Vec::new() };
        let name = archive.bucket(&self.context.project);
        let body = json!({
            "labels": self.labels(&BTreeMap::new()),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": true},
                "publicAccessPrevention": "enforced",
            },
        });
        let mut bucket = self.resource(Kind::Bucket, name.clone(), body, Vec::new());
        bucket.creation = json!({"location": self.context.region});
        let object = match &self.context.archive {
            Some(built) => format!("{name}/{}", built.object()),
            None => format!("{name}/{ARCHIVES}(known after the build).zip"),
        };
        let needs = vec![bucket.id.clone()];
        vec![bucket, self.resource(Kind::Archive, object, json!({}), needs)]
    }

    fn subscription(&self, subscription: &Subscription) -> Resource {
        let topic = self.context.topic(&subscription.topic);
        let mut body = self.delivery(&subscription.delivery);
        let mut needs = vec![Id::new(Kind::Topic, topic.clone())];
        needs.extend(self.dead_letter_topic(&subscription.delivery));
        put(&mut body, "topic", Some(topic));
        put(&mut body, "labels", Some(self.labels(&subscription.labels)));
        // Which messages come is always declared: a filter that is there and not declared is a difference.
        put(&mut body, "filter", Some(subscription.filter.as_ref().map(ToString::to_string).unwrap_or_default()));
        put(&mut body, "enableMessageOrdering", subscription.ordering);
        put(&mut body, "enableExactlyOnceDelivery", subscription.exactly_once);
        put(&mut body, "retainAckedMessages", subscription.retain_acked);
        let push = match &subscription.push {
            Some(push) => {
                needs.extend(self.push_needs(push));
                self.push(push)
            }
            None => json!({"pushEndpoint": ""}),
        };
        body.insert("pushConfig".to_owned(), push);
        self.resource(Kind::Subscription, self.context.subscription(&subscription.name), body.into(), needs)
    }

    fn push(&self, push: &Push) -> Value {
        let endpoint = match &push.target {
            PushTarget::Service(service) => self.context.url(service),
            PushTarget::Endpoint(endpoint) => endpoint.clone(),
        };
        let mut config = Map::new();
        if let Some(account) = &push.service_account {
            // Spelled out, since Pub/Sub would say the endpoint in any case.
            let audience = push.audience.as_ref().unwrap_or(&endpoint);
            let token = json!({"serviceAccountEmail": self.context.email(account), "audience": audience});
            config.insert("oidcToken".to_owned(), token);
        }
        if push.no_wrapper == Some(true) {
            config.insert("noWrapper".to_owned(), json!({"writeMetadata": push.write_metadata.unwrap_or(true)}));
        }
        put(&mut config, "pushEndpoint", Some(endpoint));
        config.into()
    }

    fn push_needs(&self, push: &Push) -> Vec<Id> {
        let service = match &push.target {
            PushTarget::Service(service) => self.context.service(service),
            PushTarget::Endpoint(_) => return self.account_need(push.service_account.as_ref()),
        };
        let mut needs = self.account_need(push.service_account.as_ref());
        needs.push(Id::new(Kind::Service, service.clone()));
        needs.push(Id::new(Kind::Policy(Target::Service), service));
        needs
    }

    /// What a subscription and the one of a trigger share.
    fn delivery(&self, delivery: &Delivery) -> Map<String, Value> {
        let mut body = Map::new();
        put(&mut body, "ackDeadlineSeconds", delivery.ack_deadline.map(|deadline| deadline.as_secs()));
        put(&mut body, "messageRetentionDuration", delivery.retention.map(seconds));
        put(
            &mut body,
            "expirationPolicy",
            delivery.expiry.map(|expiry| match expiry {
                Expiry::Never => json!({}),
                Expiry::After(ttl) => json!({"ttl": seconds(ttl)}),
            }),
        );
        let retry = delivery.retry.map(
            |retry| json!({"minimumBackoff": seconds(retry.min_backoff), "maximumBackoff": seconds(retry.max_backoff)}),
        );
        put(&mut body, "retryPolicy", retry);
        let dead_letter = delivery.dead_letter.as_ref().map(|DeadLetter { topic, max_attempts }| {
            json!({"deadLetterTopic": self.context.topic(topic), "maxDeliveryAttempts": max_attempts})
        });
        put(&mut body, "deadLetterPolicy", dead_letter);
        body
    }

    fn dead_letter_topic(&self, delivery: &Delivery) -> Option<Id> {
        let dead_letter = delivery.dead_letter.as_ref()?;
        Some(Id::new(Kind::Topic, self.context.topic(&dead_letter.topic)))
    }

    fn service(&self, service: &Service) -> Resource {
        let mut needs = self.account_need(service.service_account.as_ref());
        let mut template = Map::new();
        put(
            &mut template,
            "serviceAccount",
            service.service_account.as_ref().map(|account| self.context.email(account)),
        );
        put(&mut template, "timeout", service.timeout.map(seconds));
        put(&mut template, "maxInstanceRequestConcurrency", service.concurrency);
        let mut scaling = Map::new();
        put(&mut scaling, "minInstanceCount", service.min_instances);
        put(&mut scaling, "maxInstanceCount", service.max_instances);
        if !scaling.is_empty() {
            template.insert("scaling".to_owned(), scaling.into());
        }
        let probe = |path: &str, failures: u32| json!({"httpGet": {"path": path}, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": failures});
        let mut container = Map::from_iter([
            ("image".to_owned(), json!("scratch")),
            ("baseImageUri".to_owned(), json!(BASE_IMAGE)),
            ("command".to_owned(), json!(["./main"])),
            ("env".to_owned(), self.environment(service)),
            ("startupProbe".to_owned(), probe("/health/ready", 30)),
            ("livenessProbe".to_owned(), probe("/health/live", 5)),
        ]);
        let mut limits = Map::new();
        put(&mut limits, "cpu", service.cpu.map(|cpu| cpu.to_string()));
        put(&mut limits, "memory", service.memory.map(|memory| memory.to_string()));
        if !limits.is_empty() {
            // Said explicitly, or resources without it would mean a processor that is paid for between requests too.
            container.insert("resources".to_owned(), json!({"limits": limits, "cpuIdle": true}));
        }
        if let Some(archive) = &self.topology.archive {
            let bucket = archive.bucket(&self.context.project);
            let object = self.context.archive.as_ref().map(Archive::object);
            let object = object.unwrap_or_else(|| format!("{ARCHIVES}(known after the build).zip"));
            needs.push(Id::new(Kind::Archive, format!("{bucket}/{object}")));
            let source = json!({"cloudStorageSource": {"bucket": bucket, "object": object}});
            container.insert("sourceCode".to_owned(), source);
        }
        template.insert("containers".to_owned(), json!([container]));
        let body = json!({
            "labels": self.labels(&service.resource_labels),
            // Eventarc and Pub/Sub of the same project count as internal.
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "invokerIamDisabled": false,
            "template": template,
            "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
        });
        needs.extend(self.written_topics(service).map(|topic| Id::new(Kind::Policy(Target::Topic), topic)));
        needs.extend(self.written_buckets(service).map(|bucket| Id::new(Kind::Policy(Target::Bucket), bucket)));
        self.resource(Kind::Service, self.context.service(&service.name), body, needs)
    }

    fn environment(&self, service: &Service) -> Value {
        let mut all: BTreeMap<&str, Value> = BTreeMap::new();
        all.insert("GOOGLE_CLOUD_PROJECT", json!({"value": self.context.project}));
        if let Some(environment) = &self.topology.environment {
            all.insert("TOPOLOGY_ENVIRONMENT", json!({"value": environment}));
        }
        for (name, value) in &service.environment {
            all.insert(name, json!({"value": value}));
        }
        for (name, secret) in &service.secrets {
            let reference = json!({"secret": secret.secret, "version": secret.version});
            all.insert(name, json!({"valueSource": {"secretKeyRef": reference}}));
        }
        let named = all.into_iter().map(|(name, mut value)| {
            value["name"] = name.into();
            value
        });
        named.collect()
    }

    fn trigger(&self, service: &Service, trigger: &Trigger) -> Vec<Resource> {
        let name = self.context.trigger(&service.name);
        let topic = self.context.topic(&trigger.topic);
        let target = self.context.service(&service.name);
        let mut needs = self.account_need(trigger.service_account.as_ref());
        needs.push(Id::new(Kind::Topic, topic.clone()));
        needs.push(Id::new(Kind::Service, target.clone()));
        needs.push(Id::new(Kind::Policy(Target::Service), target));
        let mut body = json!({
            "destination": {"cloudRun": {"service": service.name, "region": self.context.region, "path": "/"}},
            "eventFilters": [{"attribute": "type", "value": MESSAGE_PUBLISHED}],
            "transport": {"pubsub": {"topic": topic}},
            "labels": self.labels(&BTreeMap::new()),
        });
        if let Some(account) = &trigger.service_account {
            body["serviceAccount"] = self.context.email(account).into();
        }
        let mut made = self.resource(Kind::Trigger, name.clone(), body, needs);
        made.creation = json!({"eventDataContentType": "application/json"});
        let needs = [made.id.clone()].into_iter().chain(self.dead_letter_topic(&trigger.delivery)).collect();
        let body = self.delivery(&trigger.delivery).into();
        let subscription = self.resource(Kind::TriggerSubscription, name, body, needs);
        vec![made, subscription]
    }

    fn account_need(&self, account: Option<&String>) -> Vec<Id> {
        let declared = account.filter(|account| self.topology.service_accounts.iter().any(|a| a.name == **account));
        declared.map(|account| self.account_id(account)).into_iter().collect()
    }

    fn account_id(&self, account: &str) -> Id {
        Id::new(Kind::ServiceAccount, self.context.service_account(&self.context.email(account)))
    }

    fn written_topics<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = String> + 's {
        let results = service.results.iter().filter_map(|result| match result {
            Destination::Topic(topic) => Some(topic),
            _ => None,
        });
        results.chain(&service.dead_letter_topic).map(|topic| self.context.topic(topic))
    }

    fn written_buckets<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = String> + 's {
        service.results.iter().filter_map(|result| match result {
            Destination::Bucket { bucket, .. } => Some(bucket.replace("{project}", &self.context.project)),
            _ => None,
        })
    }

    /// Who may do what: nothing for a whole project, and nothing for everyone.
    fn policies(&self) -> Vec<Resource> {
        let mut policies: BTreeMap<Id, (Bindings, BTreeSet<Id>)> = BTreeMap::new();
        let mut open = |target: Target, name: String| {
            policies.entry(Id::new(Kind::Policy(target), name)).or_default();
        };
        // Every topic, subscription and service has its policy looked at, so that what should not be there shows.
        self.topology.topics.iter().for_each(|topic| open(Target::Topic, self.context.topic(&topic.name)));
        self.topology.services.iter().for_each(|service| open(Target::Service, self.context.service(&service.name)));
        let mut grant = |target: Target, name: String, role: &str, member: String, account: Vec<Id>| {
            let (bindings, needs) = policies.entry(Id::new(Kind::Policy(target), name)).or_default();
            bindings.entry(role.to_owned()).or_default().insert(member);
            needs.extend(account);
        };
        for service in &self.topology.services {
            let invoked = self.context.service(&service.name);
            if let Some(account) = &service.service_account {
                for topic in self.written_topics(service) {
                    let needs = self.account_need(Some(account));
                    grant(Target::Topic, topic, "roles/pubsub.publisher", self.member(account), needs);
                }
                for bucket in self.written_buckets(service) {
                    let needs = self.account_need(Some(account));
                    grant(Target::Bucket, bucket, "roles/storage.objectUser", self.member(account), needs);
                }
            }
            let Some(trigger) = &service.trigger else { continue };
            if let Some(account) = &trigger.service_account {
                let needs = self.account_need(Some(account));
                grant(Target::Service, invoked, "roles/run.invoker", self.member(account), needs);
            }
            if trigger.delivery.dead_letter.is_some() {
                let trigger = self.context.trigger(&service.name);
                let agent = self.context.pubsub_agent();
                grant(Target::TriggerSubscription, trigger, "roles/pubsub.subscriber", agent, Vec::new());
            }
            if let Some(id) = self.dead_letter_topic(&trigger.delivery) {
                grant(Target::Topic, id.name, "roles/pubsub.publisher", self.context.pubsub_agent(), Vec::new());
            }
        }
        for subscription in &self.topology.subscriptions {
            if let Some(push) = &subscription.push
                && let (PushTarget::Service(service), Some(account)) = (&push.target, &push.service_account)
            {
                let needs = self.account_need(Some(account));
                let service = self.context.service(service);
                grant(Target::Service, service, "roles/run.invoker", self.member(account), needs);
            }
            if let Some(id) = self.dead_letter_topic(&subscription.delivery) {
                let agent = self.context.pubsub_agent();
                grant(Target::Topic, id.name, "roles/pubsub.publisher", agent.clone(), Vec::new());
                let name = self.context.subscription(&subscription.name);
                grant(Target::Subscription, name, "roles/pubsub.subscriber", agent, Vec::new());
            }
        }
        let accounts = self.topology.service_accounts.iter().map(|account| self.member(&account.name));
        let managed: BTreeSet<String> = accounts.collect();
        let policy = |(id, (bindings, accounts)): (Id, (Bindings, BTreeSet<Id>))| {
            let Kind::Policy(target) = id.kind else { unreachable!("only policies are collected") };
            let needs = accounts.into_iter().chain([Id::new(target.kind(), id.name.clone())]).collect();
            self.resource(id.kind, id.name, policy::body(&bindings, &managed), needs)
        };
        policies.into_iter().map(policy).collect()
    }

    fn member(&self, account: &str) -> String {
        format!("serviceAccount:{}", self.context.email(account))
    }

    /// Declared labels, and whose the resource is.
    fn labels(&self, declared: &BTreeMap<String, String>) -> Value {
        let ours = (DEPLOYMENT_LABEL.to_owned(), self.topology.name.clone());
        let all = declared.clone().into_iter().chain([ours]).map(|(key, value)| (key, Value::String(value)));
        Value::Object(all.collect())
    }
}

fn put(body: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(key.to_owned(), value.into());
    }
}

/// As Google's JSON writes a duration.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}
