//! Eventarc triggers, and the subscriptions that Eventarc creates for them.
//!
//! The subscription is a resource of its own, since Eventarc's defaults lose events: after the trigger exists, its
//! subscription is read back and gets the declared deadlines, retries and dead letters.

use std::collections::BTreeMap;

use serde_json::json;

use super::delivery::delivery_summary;
use super::desired::{Desired, short};
use super::export::{Block, Export, Field, own_name};
use super::kind::{Api, Id, Kind, Target};
use super::resource::Resource;
use super::spec::{Mark, Permission, Spec};
use infra::topology::Service;

/// The event type of a message on a topic.
const MESSAGE_PUBLISHED: &str = "google.cloud.pubsub.topic.v1.messagePublished";

pub(super) const SPEC: Spec = Spec {
    mark: Mark::Label,
    immutable: &[
        ("transport", "a trigger stays with its topic; messages that wait in its subscription are lost"),
        ("eventFilters", "the event type of a trigger cannot be changed"),
    ],
    permissions: &[
        Permission::new("eventarc.triggers.create", "roles/eventarc.admin"),
        Permission::new("eventarc.triggers.delete", "roles/eventarc.admin"),
    ],
    summary: |body| {
        let [topic, service] = [&body["transport"]["pubsub"]["topic"], &body["destination"]["cloudRun"]["service"]];
        format!("{} to {}", short(topic), short(service))
    },
    export: Export::Resource(Block {
        resource: "google_eventarc_trigger",
        name: own_name,
        arguments: |trigger| {
            json!({
                "//": "Of the subscription that Eventarc makes, Terraform can say nothing: see the output after_apply.",
                "name": trigger.id.short(),
                "location": "${var.region}",
            })
        },
        fields: &[
            ("eventFilters", Field::Named("matching_criteria")),
            ("destination.cloudRun", Field::Named("cloud_run_service")),
            ("destination.cloudRun.service", Field::Reference(Kind::Service, "name")),
        ],
        depends_on: &[Kind::Api, Kind::Policy(Target::Service), Kind::Policy(Target::ServiceAccount)],
    }),
    ..Spec::new("trigger", "trigger", Api::Eventarc)
};

/// Terraform cannot change a subscription that Eventarc created: what is declared for it is a command to run.
pub(super) const SUBSCRIPTION_SPEC: Spec = Spec {
    permissions: &[Permission::new("pubsub.subscriptions.update", "roles/pubsub.admin")],
    summary: |body| delivery_summary(body).join(", "),
    ..Spec::new("subscription of trigger", "trigger-subscription", Api::Eventarc)
};

impl Desired<'_> {
    /// The trigger of a service and its subscription, if one is declared.
    pub(super) fn trigger(&self, service: &Service) -> Vec<Resource> {
        let Some(trigger) = &service.trigger else { return Vec::new() };
        let (name, topic) = (self.context.trigger(&service.name), self.context.topic(&trigger.topic));
        let account = trigger.service_account.as_ref();
        let mut body = json!({
            "destination": {"cloudRun": {"service": service.name, "region": self.context.region, "path": "/"}},
            "eventFilters": [{"attribute": "type", "value": MESSAGE_PUBLISHED}],
            "transport": {"pubsub": {"topic": topic}},
            "labels": self.labels(&BTreeMap::new()),
        });
        if let Some(account) = account {
            body["serviceAccount"] = self.context.email(account).into();
        }
        let mut made = self.resource(Kind::Trigger, &SPEC, name.clone(), body);
        made.creation = json!({"eventDataContentType": "application/json"});
        made.needs.push(Id::new(Kind::Topic, topic));
        made.needs.extend(self.caller_needs(account, Some(&service.name)));
        made.grants = self.caller_grants(account, Some(&service.name));

        let body = self.delivery(&trigger.delivery).into();
        let mut subscription = self.resource(Kind::TriggerSubscription, &SUBSCRIPTION_SPEC, name.clone(), body);
        subscription.needs.push(made.id.clone());
        subscription.needs.extend(self.dead_letter_topic(&trigger.delivery));
        subscription.grants = self.dead_letter_grants(&trigger.delivery, Target::TriggerSubscription, &name);
        vec![made, subscription]
    }
}
