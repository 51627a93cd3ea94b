//! Pub/Sub subscriptions. What they share with the one of a trigger is in [`delivery`](super::delivery).

use serde_json::{Map, Value, json};

use super::delivery::delivery_summary;
use super::desired::{Desired, put, short};
use super::export::{Block, Export, Field, NUMBER, named, own_name, unless_empty};
use super::kind::{Api, Id, Kind, Target};
use super::resource::Resource;
use super::spec::{Mark, Permission, Spec};
use infra::topology::{Push, PushTarget, Subscription};

pub(super) const SPEC: Spec = Spec {
    mark: Mark::Label,
    immutable: &[
        ("filter", "a filter cannot be changed; messages that wait in the subscription are lost"),
        ("topic", "a subscription stays with its topic; messages that wait in it are lost"),
        ("enableMessageOrdering", "ordering cannot be changed; messages that wait in the subscription are lost"),
    ],
    permissions: &[
        Permission::new("pubsub.subscriptions.create", "roles/pubsub.admin"),
        Permission::new("pubsub.subscriptions.update", "roles/pubsub.admin"),
    ],
    summary: |body| {
        let topic = [format!("of {}", short(&body["topic"]))];
        topic.into_iter().chain(delivery_summary(body)).collect::<Vec<_>>().join(", ")
    },
    export: Export::Resource(Block {
        resource: "google_pubsub_subscription",
        name: own_name,
        arguments: named,
        fields: &[
            ("filter", Field::Written(unless_empty)),
            (
                "expirationPolicy",
                Field::Written(|policy, _| json!({"ttl": policy["ttl"].as_str().unwrap_or_default()})),
            ),
            ("pushConfig", Field::Written(unless_pulled)),
            ("pushConfig.pushEndpoint", Field::Written(path_of_service)),
        ],
        depends_on: &[Kind::Policy(Target::ServiceAccount)],
    }),
    ..Spec::new("subscription", "subscription", Api::PubSub)
};

/// Where messages are pulled there is nothing to write.
fn unless_pulled(push: &Value, _: &Resource) -> Value {
    if push["pushEndpoint"] == "" { Value::Null } else { push.clone() }
}

/// A service of this topology is called at the root of its address, which Terraform knows without a path.
fn path_of_service(endpoint: &Value, _: &Resource) -> Value {
    match endpoint.as_str() {
        Some(address) if address.contains(NUMBER) => format!("{address}/").into(),
        _ => endpoint.clone(),
    }
}

impl Desired<'_> {
    pub(super) fn subscription(&self, subscription: &Subscription) -> Resource {
        let (name, topic) = (self.context.subscription(&subscription.name), self.context.topic(&subscription.topic));
        let mut body = self.delivery(&subscription.delivery);
        put(&mut body, "topic", Some(topic.clone()));
        put(&mut body, "labels", Some(self.labels(&subscription.labels)));
        // Always sent: a filter that was found and is not declared is a difference.
        put(&mut body, "filter", Some(subscription.filter.as_ref().map(ToString::to_string).unwrap_or_default()));
        put(&mut body, "enableMessageOrdering", subscription.ordering);
        put(&mut body, "enableExactlyOnceDelivery", subscription.exactly_once);
        put(&mut body, "retainAckedMessages", subscription.retain_acked);
        let push = subscription.push.as_ref();
        body.insert("pushConfig".to_owned(), push.map_or_else(|| json!({"pushEndpoint": ""}), |push| self.push(push)));
        let mut resource = self.resource(Kind::Subscription, &SPEC, name.clone(), body.into());
        resource.needs.push(Id::new(Kind::Topic, topic));
        resource.needs.extend(self.dead_letter_topic(&subscription.delivery));
        if let Some(Push { target, service_account, .. }) = push {
            let service = match target {
                PushTarget::Service(service) => Some(service),
                PushTarget::Endpoint(_) => None,
            };
            resource.needs.extend(self.caller_needs(service_account.as_ref(), service));
            resource.grants.extend(self.caller_grants(service_account.as_ref(), service));
        }
        resource.grants.extend(self.dead_letter_grants(&subscription.delivery, Target::Subscription, &name));
        resource
    }

    fn push(&self, push: &Push) -> Value {
        let endpoint = match &push.target {
            PushTarget::Service(service) => self.context.url(service),
            PushTarget::Endpoint(endpoint) => endpoint.clone(),
        };
        let mut config = Map::new();
        if let Some(account) = &push.service_account {
            // Always sent, since Pub/Sub would show the endpoint where it is left out.
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

    /// What a push or trigger waits for: its account, the grant that Pub/Sub signs tokens by, and the service with its
    /// policy.
    pub(super) fn caller_needs(&self, account: Option<&String>, service: Option<&String>) -> Vec<Id> {
        let mut needs: Vec<Id> = self.account_need(account).into_iter().chain(self.token_policy(account)).collect();
        if let Some(service) = service {
            let service = self.context.service(service);
            needs.push(Id::new(Kind::Service, service.clone()));
            needs.push(Id::new(Kind::Policy(Target::Service), service));
        }
        needs
    }
}
