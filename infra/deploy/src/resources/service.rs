//! Cloud Run services, which run the archive on a base image.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::desired::{Desired, put, seconds};
use super::export::{Block, Export, Field, REGION, own_name};
use super::grant::{ACCESSOR, Grant, PUBLISHER};
use super::kind::{Api, Kind, Target};
use super::resource::Resource;
use super::spec::{Mark, Permission, Spec};
use infra::topology::Service;

/// Ubuntu 24.04 without a language: it runs the binary of the archive as it is, and `cargo xtask build` checks the
/// binary against its C library. <https://cloud.google.com/run/docs/configuring/services/runtime-base-images>
const BASE_IMAGE: &str = "osonly24";

pub(super) const SPEC: Spec = Spec {
    mark: Mark::Label,
    permissions: &[
        Permission::new("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
        Permission::new("run.services.create", "roles/run.admin"),
    ],
    summary,
    export: Export::Resource(Block {
        resource: "google_cloud_run_v2_service",
        name: own_name,
        arguments: |service| {
            json!({
                "provider": "google-beta",
                "name": service.id.short(),
                "location": "${var.region}",
                "deletion_protection": false,
            })
        },
        fields: &[
            ("template.containers.baseImageUri", Field::Written(full_base_image)),
            ("template.containers.env", Field::Written(plain_variables_first)),
            // Terraform's defaults.
            ("invokerIamDisabled", Field::Omitted),
            ("traffic", Field::Omitted),
        ],
        depends_on: &[Kind::Api, Kind::Policy(Target::Secret)],
    }),
    ..Spec::new("service", "service", Api::Run)
};

fn summary(body: &Value) -> String {
    let limits = &body["template"]["containers"][0]["resources"]["limits"];
    let cpu = limits["cpu"].as_str().map(|cpu| format!("{cpu} CPU"));
    let memory = limits["memory"].as_str().map(str::to_owned);
    let most = body["template"]["scaling"]["maxInstanceCount"].as_u64();
    let most = most.map(|most| format!("at most {most} instances"));
    let ingress = Some("internal traffic only".to_owned());
    [cpu, memory, most, ingress].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Terraform knows no short names of base images.
fn full_base_image(image: &Value, _: &Resource) -> Value {
    let image = image.as_str().unwrap_or_default();
    format!("{REGION}-docker.pkg.dev/serverless-runtimes/google-24/runtimes/{image}").into()
}

/// The project, then values, then secrets: Terraform compares the list in its order.
fn plain_variables_first(variables: &Value, _: &Resource) -> Value {
    let mut variables = variables.as_array().cloned().unwrap_or_default();
    variables.sort_by_key(|variable| (variable["name"] != PROJECT_VARIABLE, !variable["valueSource"].is_null()));
    variables.into()
}

/// The variable that Google's clients, and the function, take the project's id from.
const PROJECT_VARIABLE: &str = "GOOGLE_CLOUD_PROJECT";

impl Desired<'_> {
    pub(super) fn service(&self, service: &Service) -> Resource {
        let account = service.service_account.as_ref();
        let mut template = Map::new();
        put(&mut template, "serviceAccount", account.map(|account| self.context.email(account)));
        put(&mut template, "timeout", service.timeout.map(seconds));
        put(&mut template, "maxInstanceRequestConcurrency", service.concurrency);
        let mut scaling = Map::new();
        put(&mut scaling, "minInstanceCount", service.min_instances);
        put(&mut scaling, "maxInstanceCount", service.max_instances);
        if !scaling.is_empty() {
            template.insert("scaling".to_owned(), scaling.into());
        }
        template.insert("containers".to_owned(), json!([self.container(service)]));
        let body = json!({
            "labels": self.labels(&service.resource_labels),
            // Eventarc and Pub/Sub of the same project count as internal.
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "invokerIamDisabled": false,
            "template": template,
            "traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}],
        });
        let mut resource = self.resource(Kind::Service, &SPEC, self.context.service(&service.name), body);
        resource.grants = self.service_grants(service);
        resource.needs.extend(self.account_need(account));
        resource.needs.extend(self.archive_id());
        // It may use all that from its first request on.
        resource.needs.extend(resource.grants.iter().map(Grant::policy));
        resource
    }

    fn container(&self, service: &Service) -> Map<String, Value> {
        // Sent explicitly: resources without it would mean a processor that is paid for between requests too.
        let mut resources = Map::from_iter([("cpuIdle".to_owned(), json!(true))]);
        // A model that is loaded at the start is loaded sooner.
        resources.insert("startupCpuBoost".to_owned(), service.startup_cpu_boost.unwrap_or(true).into());
        let mut limits = Map::new();
        put(&mut limits, "cpu", service.cpu.map(|cpu| cpu.to_string()));
        put(&mut limits, "memory", service.memory.map(|memory| memory.to_string()));
        if !limits.is_empty() {
            resources.insert("limits".to_owned(), limits.into());
        }
        let mut container = Map::from_iter([
            ("image".to_owned(), json!("scratch")),
            ("baseImageUri".to_owned(), json!(BASE_IMAGE)),
            ("command".to_owned(), json!(["./main"])),
            ("env".to_owned(), self.environment(service)),
            // Asked often at the start, so that an instance serves as soon as it can.
            ("startupProbe".to_owned(), probe("/health/ready", 2, 1, 30)),
            // Each probe is billed as processor time where requests are.
            ("livenessProbe".to_owned(), probe("/health/live", 10, 5, 3)),
            ("resources".to_owned(), resources.into()),
        ]);
        if let Some(bucket) = self.bucket_id() {
            let source = json!({"cloudStorageSource": {"bucket": bucket.name, "object": self.context.object()}});
            container.insert("sourceCode".to_owned(), source);
        }
        container
    }

    fn environment(&self, service: &Service) -> Value {
        let mut all: BTreeMap<&str, Value> = BTreeMap::new();
        all.insert(PROJECT_VARIABLE, json!({"value": self.context.project}));
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

    /// A service publishes to its topics, writes to its buckets and reads its secrets. A service without an account of
    /// its own runs as one that the topology does not manage.
    fn service_grants(&self, service: &Service) -> Vec<Grant> {
        let Some(account) = &service.service_account else { return Vec::new() };
        let topics = self.written_topics(service).map(|topic| self.grant(Target::Topic, topic, PUBLISHER, account));
        let buckets = self.written_buckets(service).into_iter();
        let buckets = buckets.map(|(bucket, role)| self.grant(Target::Bucket, bucket, &role, account));
        let secrets = self.read_secrets(service).map(|secret| self.grant(Target::Secret, secret, ACCESSOR, account));
        topics.chain(buckets).chain(secrets).collect()
    }
}

/// How Cloud Run asks whether an instance is well, and after how many failures in a row it gives the instance up. The
/// period has to be longer than the time-out.
fn probe(path: &str, period_seconds: u32, timeout_seconds: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path},
        "periodSeconds": period_seconds,
        "timeoutSeconds": timeout_seconds,
        "failureThreshold": failures,
    })
}
