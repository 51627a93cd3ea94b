//! Services and their triggers.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Declared, put, seconds};
use crate::plan::{Id, Kind, Resource, Target};
use infra::topology::Service;

/// The event type of a message on a topic.
pub(crate) const MESSAGE_PUBLISHED: &str = "google.cloud.pubsub.topic.v1.messagePublished";

/// Ubuntu 24.04 without a language: it runs the binary of the archive as it is, and `cargo xtask build` checks the binary against
/// its C library. <https://cloud.google.com/run/docs/configuring/services/runtime-base-images>
pub(crate) const BASE_IMAGE: &str = "osonly24";

/// How Cloud Run asks whether an instance is well. Its period is longer than its time-out, as Cloud Run demands.
#[derive(Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) path: &'static str,
    pub(crate) period_seconds: u32,
    pub(crate) timeout_seconds: u32,
    /// Failures in a row until the instance is given up.
    pub(crate) failures: u32,
}

/// Once at the start, often, so that an instance serves as soon as it can.
pub(crate) const STARTUP: Probe = Probe { path: "/health/ready", period_seconds: 2, timeout_seconds: 1, failures: 30 };

/// All the time: each probe is billed as processor time where requests are.
pub(crate) const LIVENESS: Probe = Probe { path: "/health/live", period_seconds: 10, timeout_seconds: 5, failures: 3 };

fn probe(probe: Probe) -> Value {
    json!({
        "httpGet": {"path": probe.path},
        "periodSeconds": probe.period_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "failureThreshold": probe.failures,
    })
}

impl Declared<'_> {
    pub(super) fn service(&self, service: &Service) -> Resource {
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
        let mut container = Map::from_iter([
            ("image".to_owned(), json!("scratch")),
            ("baseImageUri".to_owned(), json!(BASE_IMAGE)),
            ("command".to_owned(), json!(["./main"])),
            ("env".to_owned(), self.environment(service)),
            ("startupProbe".to_owned(), probe(STARTUP)),
            ("livenessProbe".to_owned(), probe(LIVENESS)),
        ]);
        let mut limits = Map::new();
        put(&mut limits, "cpu", service.cpu.map(|cpu| cpu.to_string()));
        put(&mut limits, "memory", service.memory.map(|memory| memory.to_string()));
        // Said explicitly, or resources without it would mean a processor that is paid for between requests too.
        let mut resources = Map::from_iter([("cpuIdle".to_owned(), json!(true))]);
        // A model that is loaded at the start is loaded sooner.
        resources.insert("startupCpuBoost".to_owned(), service.startup_cpu_boost.unwrap_or(true).into());
        if !limits.is_empty() {
            resources.insert("limits".to_owned(), limits.into());
        }
        container.insert("resources".to_owned(), resources.into());
        if let Some(archive) = &self.topology.archive {
            let bucket = archive.bucket(&self.context.project);
            let object = self.context.object();
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
        needs.extend(
            self.written_buckets(service).into_iter().map(|(bucket, _)| Id::new(Kind::Policy(Target::Bucket), bucket)),
        );
        needs.extend(self.read_secrets(service).map(|secret| Id::new(Kind::Policy(Target::Secret), secret)));
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

    pub(super) fn trigger(&self, service: &Service) -> Vec<Resource> {
        let Some(trigger) = &service.trigger else { return Vec::new() };
        let name = self.context.trigger(&service.name);
        let topic = self.context.topic(&trigger.topic);
        let target = self.context.service(&service.name);
        let mut needs = self.account_need(trigger.service_account.as_ref());
        needs.extend(self.token_policy(trigger.service_account.as_ref()));
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
}
