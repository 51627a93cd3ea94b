//! The declared topics and subscriptions as they are created here.
//!
//! They are the resources of a deployment, with the same bodies; [`localized`] has what differs.

use std::collections::BTreeMap;

use deploy::resources::{self, Context, Id, Kind, Resource};
use infra::topology::{self, PushTarget, Topology, Trigger};
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) topics: Vec<Resource>,
    pub(super) subscriptions: Vec<Subscription>,
    /// Topics that services publish results to, by full name.
    pub(super) results: Vec<String>,
    /// Topics that dead letters go to, by full name.
    pub(super) dead_letters: Vec<String>,
    /// Whose tokens each service's pushes carry.
    pub(super) identities: BTreeMap<String, Identity>,
    /// Differences from a deployment, for people.
    pub(super) notes: Vec<String>,
}

/// A subscription, and what consumes its messages.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    /// Without its push settings.
    pub(super) resource: Resource,
    /// Full name.
    pub(super) topic: String,
    pub(super) filter: Option<String>,
    pub(super) eventarc: bool,
    pub(super) consumer: Consumer,
    /// The push settings without the endpoint.
    pub(super) push: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Consumer {
    /// Pull subscribers.
    Pull,
    /// A service of the topology, by name.
    Service(String),
    /// A URL outside of the topology.
    Endpoint(String),
}

/// Who pushes to a service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Identity {
    pub(super) audience: String,
    pub(super) emails: Vec<String>,
}

impl Subscription {
    /// Full name.
    pub(super) fn name(&self) -> &str {
        &self.resource.id.name
    }
}

impl Declared {
    /// `takes` says which services are part of this run; with `tokens` their pushes carry some where that is declared.
    pub(super) fn new(topology: &Topology, context: &Context, takes: impl Fn(&str) -> bool, tokens: bool) -> Self {
        let mut declared = Self::default();
        if tokens {
            declared.identities(topology, context, &takes);
        }
        for resource in resources::declared(topology, context) {
            let (id, name) = (resource.id.clone(), resource.id.short());
            match id.kind {
                Kind::Topic => declared.topics.push(resource),
                Kind::Subscription => {
                    let Some(subscription) = topology.subscription(name) else { continue };
                    let Some(consumer) = declared.consumer(subscription, &takes) else { continue };
                    declared.subscription(resource, None, consumer, context);
                }
                Kind::TriggerSubscription => {
                    let service = topology.service(name).filter(|service| takes(&service.name));
                    let Some((service, trigger)) = service.zip(service.and_then(|service| service.trigger.as_ref()))
                    else {
                        continue;
                    };
                    declared.subscription(resource, Some(trigger), Consumer::Service(service.name.clone()), context);
                }
                _ => {}
            }
        }
        let services = topology.services.iter().filter(|service| takes(&service.name));
        for service in services {
            let results = service.results.iter().map(|result| result.setting(&context.project));
            declared.results.extend(results.filter(|result| result.starts_with("projects/")));
            declared.dead_letters.extend(service.dead_letter_topic.iter().map(|topic| context.topic(topic)));
        }
        declared
    }

    /// What gets a subscription's messages; `None` if it is a service that is not part of this run.
    fn consumer(&mut self, subscription: &topology::Subscription, takes: impl Fn(&str) -> bool) -> Option<Consumer> {
        match subscription.push.as_ref().map(|push| &push.target) {
            None => Some(Consumer::Pull),
            Some(PushTarget::Service(service)) => takes(service).then(|| Consumer::Service(service.clone())),
            Some(PushTarget::Endpoint(endpoint)) if endpoint.starts_with("http://") => {
                Some(Consumer::Endpoint(endpoint.clone()))
            }
            Some(PushTarget::Endpoint(endpoint)) => {
                let name = &subscription.name;
                self.notes.push(format!("subscription `{name}` does not push to {endpoint} here; its messages wait"));
                Some(Consumer::Pull)
            }
        }
    }

    /// Adds a subscription, or the one of a trigger.
    fn subscription(&mut self, resource: Resource, trigger: Option<&Trigger>, consumer: Consumer, context: &Context) {
        let (resource, mut push) = localized(resource, trigger, context);
        match &consumer {
            Consumer::Service(service) => self.authenticate(&mut push, service),
            Consumer::Pull | Consumer::Endpoint(_) => drop(push.remove("oidcToken")),
        }
        let text = |key: &str| resource.body[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let (topic, filter) = (text("topic").unwrap_or_default(), text("filter"));
        if let Some(topic) = resource.body["deadLetterPolicy"]["deadLetterTopic"].as_str() {
            self.dead_letters.push(topic.to_owned());
        }
        let eventarc = trigger.is_some();
        self.subscriptions.push(Subscription { resource, topic, filter, eventarc, consumer, push });
    }

    /// The token that pushes to a service carry: the service checks one audience, so all have the same.
    fn authenticate(&self, push: &mut Map<String, Value>, service: &str) {
        let Some(token) = push.remove("oidcToken") else { return };
        if let Some(identity) = self.identities.get(service) {
            let email = &token["serviceAccountEmail"];
            push.insert("oidcToken".to_owned(), json!({"serviceAccountEmail": email, "audience": identity.audience}));
        }
    }

    /// Finds the services that check tokens: those of which every push has an identity.
    fn identities(&mut self, topology: &Topology, context: &Context, takes: impl Fn(&str) -> bool) {
        for service in topology.services.iter().filter(|service| takes(&service.name)) {
            let mut audience = None;
            let feeds = topology.feeds(&service.name);
            let accounts: Vec<Option<&String>> = feeds
                .iter()
                .map(|feed| match feed.subscription {
                    Some(subscription) => {
                        let push = subscription.push.as_ref()?;
                        audience = audience.or(push.audience.as_ref());
                        push.service_account.as_ref()
                    }
                    None => service.trigger.as_ref()?.service_account.as_ref(),
                })
                .collect();
            let known: Vec<&String> = accounts.iter().copied().flatten().collect();
            if known.is_empty() {
                continue;
            }
            if known.len() < accounts.len() {
                self.notes.push(format!(
                    "service `{}` checks no tokens here: not all that feeds it has a service account",
                    service.name
                ));
                continue;
            }
            let mut emails: Vec<String> = known.into_iter().map(|account| context.email(account)).collect();
            emails.sort_unstable();
            emails.dedup();
            let audience = audience.cloned().unwrap_or_else(|| context.url(&service.name));
            self.identities.insert(service.name.clone(), Identity { audience, emails });
        }
    }
}

/// A subscription as it is created here, and its push settings without the endpoint. This is all in which the local run
/// differs from a deployment:
///
/// - The address of a service is that of its process, so a subscription is created without push settings and gets them
///   when a process listens.
/// - The subscription of an Eventarc trigger is created here, not by Eventarc, with what Eventarc would declare for it.
fn localized(resource: Resource, trigger: Option<&Trigger>, context: &Context) -> (Resource, Map<String, Value>) {
    let mut resource = resource;
    resource.needs.retain(|need| need.kind == Kind::Topic);
    let body = &mut resource.body;
    let mut push = match body.as_object_mut().and_then(|body| body.remove("pushConfig")) {
        Some(Value::Object(push)) => push,
        _ => Map::new(),
    };
    push.remove("pushEndpoint");
    if let Some(trigger) = trigger {
        body["topic"] = json!(context.topic(&trigger.topic));
        for (key, value) in eventarc_defaults() {
            if body[key].is_null() {
                body[key] = value;
            }
        }
        if let Some(account) = &trigger.service_account {
            push.insert("oidcToken".to_owned(), json!({"serviceAccountEmail": context.email(account)}));
        }
        let name = context.subscription(&format!("eventarc-local-{}-sub", resource.id.short()));
        resource.id = Id::new(Kind::Subscription, name);
    }
    (resource, push)
}

/// What an Eventarc trigger's subscription has unless it is declared otherwise.
/// <https://cloud.google.com/eventarc/docs/retry-events>
fn eventarc_defaults() -> [(&'static str, Value); 2] {
    [
        ("messageRetentionDuration", json!("86400s")),
        ("retryPolicy", json!({"minimumBackoff": "10s", "maximumBackoff": "600s"})),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(text: &str, tokens: bool, only: Option<&str>) -> Declared {
        let topology = Topology::parse(text, "mine.toml").unwrap();
        let (project, number, region) = ("local".to_owned(), "0".to_owned(), "local".to_owned());
        let context = Context { project, number, region, archive: None };
        Declared::new(&topology, &context, |name| only.is_none_or(|only| only == name), tokens)
    }

    #[test]
    fn the_shipped_trigger_is_a_push_subscription_with_a_token() {
        let declared = declared(include_str!("../../../infra/topology.toml"), true, None);
        let names: Vec<&str> =
            declared.subscriptions.iter().map(|subscription| subscription.resource.id.short()).collect();
        assert_eq!(
            names,
            [
                "ai-workloads-subscription",
                "ai-workloads-dead-letter-subscription",
                "eventarc-local-ai-workloads-function-sub"
            ]
        );
        let trigger = &declared.subscriptions[2];
        assert!(trigger.eventarc && trigger.consumer == Consumer::Service("ai-workloads-function".to_owned()));
        assert_eq!(trigger.resource.body["ackDeadlineSeconds"], 60);
        let token = &trigger.push["oidcToken"];
        assert_eq!(token["serviceAccountEmail"], "ai-workloads-trigger@local.iam.gserviceaccount.com");
        assert_eq!(token["audience"], declared.identities["ai-workloads-function"].audience);
        assert!(declared.subscriptions.iter().all(|subscription| subscription.resource.body["pushConfig"].is_null()));
    }

    const TWO: &str = "[topics.work]\n[services.one]\ntimeout = \"10s\"\n[services.one.trigger]\ntopic = \"work\"\n\
        service-account = \"a@b.example\"\n[services.two]\ntimeout = \"10s\"\n[subscriptions.to-two]\ntopic = \"work\"\n\
        push = { service = \"two\", service-account = \"c@d.example\" }\n[subscriptions.to-one]\ntopic = \"work\"\n\
        push = { service = \"one\" }\n";

    #[test]
    fn a_service_checks_tokens_only_where_all_that_feeds_it_has_them() {
        let found = declared(TWO, true, None);
        assert_eq!(found.identities.keys().collect::<Vec<_>>(), ["two"]);
        assert!(found.notes[0].contains("`one` checks no tokens"), "{:?}", found.notes);
        let tokens =
            |declared: &Declared| declared.subscriptions.iter().filter(|s| s.push.contains_key("oidcToken")).count();
        assert_eq!((tokens(&found), tokens(&declared(TWO, false, None))), (1, 0));
    }

    #[test]
    fn what_feeds_other_services_is_left_alone() {
        let found = declared(TWO, true, Some("two"));
        assert_eq!(found.subscriptions.len(), 1);
        assert_eq!(found.subscriptions[0].resource.id.short(), "to-two");
    }
}
