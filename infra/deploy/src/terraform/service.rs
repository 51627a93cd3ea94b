//! Services and their triggers.

use serde_json::{Value, json};

use super::pubsub::seconds;
use super::{Document, in_project, labels, literal};
use crate::plan::{BASE_IMAGE, LIVENESS, MESSAGE_PUBLISHED, Probe, STARTUP};
use infra::topology::{Destination, Expiry, Service, Trigger};

/// Where the base images of a region are.
const BASE_IMAGES: &str = "${var.region}-docker.pkg.dev/serverless-runtimes/google-24/runtimes/";

impl Document<'_> {
    pub(super) fn services(&mut self) {
        for service in &self.topology.services {
            let name = self.name("google_cloud_run_v2_service", &service.name).to_owned();
            let body = self.service(service);
            self.add("google_cloud_run_v2_service", &name, body);
            if let Some(trigger) = &service.trigger {
                self.trigger(service, trigger, &name);
            }
        }
    }

    fn service(&self, service: &Service) -> Value {
        let limits = json!({
            "cpu": service.cpu.map(|cpu| cpu.to_string()),
            "memory": service.memory.map(|memory| memory.to_string()),
        });
        let limited = service.cpu.is_some() || service.memory.is_some();
        let scaled = service.min_instances.is_some() || service.max_instances.is_some();
        let scaling = json!({"min_instance_count": service.min_instances, "max_instance_count": service.max_instances});
        let probe = |probe: Probe| {
            json!({
                "http_get": {"path": probe.path},
                "period_seconds": probe.period_seconds,
                "timeout_seconds": probe.timeout_seconds,
                "failure_threshold": probe.failures,
            })
        };
        let object = "${google_storage_bucket_object.archive.name}";
        let archive = json!({"cloud_storage_source": {"bucket": self.bucket(), "object": object}});
        let container = json!({
            "image": "scratch",
            "base_image_uri": format!("{BASE_IMAGES}{BASE_IMAGE}"),
            "command": ["./main"],
            "source_code": archive,
            "env": self.environment(service),
            // Without `cpu_idle` limits would change how it is billed.
            "resources": {
                "limits": limited.then_some(limits),
                "cpu_idle": true,
                "startup_cpu_boost": service.startup_cpu_boost.unwrap_or(true),
            },
            "startup_probe": probe(STARTUP),
            "liveness_probe": probe(LIVENESS),
        });
        let needs: Vec<String> =
            ["google_project_service.run".to_owned()].into_iter().chain(self.secret_needs(service)).collect();
        json!({
            "provider": "google-beta",
            "name": service.name,
            "location": "${var.region}",
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "deletion_protection": false,
            "labels": labels(&service.resource_labels),
            "template": {
                "containers": [container],
                "service_account": service.service_account.as_ref().map(|account| self.email(account)),
                "timeout": service.timeout.map(seconds),
                "max_instance_request_concurrency": service.concurrency,
                "scaling": scaled.then_some(scaling),
            },
            "depends_on": needs,
        })
    }

    /// What the function needs to know of the project, and what is declared. Names are those of the environment, which the
    /// topology in the archive does not know.
    fn environment(&self, service: &Service) -> Vec<Value> {
        let project = "${var.project}";
        let result = |result: &Destination| match result {
            Destination::Bucket { bucket, prefix } => format!("gs://{}/{}", in_project(bucket), literal(prefix)),
            Destination::Topic(topic) => format!("projects/{project}/topics/{topic}"),
            Destination::Response => "response".to_owned(),
            Destination::Stdout => "stdout".to_owned(),
        };
        let results: Vec<_> = service.results.iter().map(result).collect();
        let dead_letter = service.dead_letter_topic.as_ref();
        let ledger = service.ledger.as_ref();
        let own = [
            Some(("GOOGLE_CLOUD_PROJECT", project.to_owned())),
            (!results.is_empty()).then(|| ("RESULTS", results.join(","))),
            ledger.map(|at| ("LEDGER", format!("gs://{}/{}", in_project(&at.bucket), literal(&at.prefix)))),
            dead_letter.map(|topic| ("DEAD_LETTER_TOPIC", format!("projects/{project}/topics/{topic}"))),
        ];
        let declared = |name: &str| service.environment.contains_key(name) || service.secrets.contains_key(name);
        let own = own.into_iter().flatten().filter(|(name, _)| !declared(name));
        let own = own.map(|(name, value)| json!({"name": name, "value": value}));
        let plain = service.environment.iter().map(|(name, value)| json!({"name": name, "value": literal(value)}));
        let secrets = service.secrets.iter().map(|(name, secret)| {
            let reference = json!({"secret": secret.secret, "version": secret.version});
            json!({"name": name, "value_source": {"secret_key_ref": reference}})
        });
        own.chain(plain).chain(secrets).collect()
    }

    fn trigger(&mut self, service: &Service, trigger: &Trigger, name: &str) {
        let run = "google_cloud_run_v2_service";
        let invoker =
            trigger.service_account.as_ref().map(|_| format!("google_cloud_run_v2_service_iam_member.{name}__trigger"));
        let mut needs = vec!["google_project_service.eventarc".to_owned()];
        needs.extend(invoker);
        needs.extend(self.token_need(trigger.service_account.as_ref()));
        let body = json!({
            "//": "Of the subscription that Eventarc makes, Terraform can say nothing: see the output after_apply.",
            "name": service.name,
            "location": "${var.region}",
            "matching_criteria": [{"attribute": "type", "value": MESSAGE_PUBLISHED}],
            "destination": {"cloud_run_service": {
                "service": self.attribute(run, &service.name, "name"),
                "region": "${var.region}",
                "path": "/",
            }},
            "transport": {"pubsub": {"topic": self.topic(&trigger.topic)}},
            "event_data_content_type": "application/json",
            "service_account": trigger.service_account.as_ref().map(|account| self.email(account)),
            "depends_on": needs,
        });
        self.add("google_eventarc_trigger", name, body);
        let subscription = format!("${{google_eventarc_trigger.{name}.transport[0].pubsub[0].subscription}}");
        let options = self.options(trigger);
        if !options.is_empty() {
            self.after_apply.push(format!("gcloud pubsub subscriptions update {subscription}{options}"));
        }
    }

    /// What is declared for the trigger's subscription, as options of gcloud.
    fn options(&self, trigger: &Trigger) -> String {
        let delivery = &trigger.delivery;
        let expiry = delivery.expiry.map(|expiry| match expiry {
            Expiry::Never => "never".to_owned(),
            Expiry::After(unused) => seconds(unused),
        });
        let dead_letter = delivery.dead_letter.as_ref();
        let options = [
            ("ack-deadline", delivery.ack_deadline.map(|deadline| deadline.as_secs().to_string())),
            ("message-retention-duration", delivery.retention.map(seconds)),
            ("expiration-period", expiry),
            ("min-retry-delay", delivery.retry.map(|retry| seconds(retry.min_backoff))),
            ("max-retry-delay", delivery.retry.map(|retry| seconds(retry.max_backoff))),
            ("dead-letter-topic", dead_letter.map(|dead_letter| self.topic(&dead_letter.topic))),
            ("max-delivery-attempts", dead_letter.map(|dead_letter| dead_letter.max_attempts.to_string())),
        ];
        let given = options.into_iter().filter_map(|(name, value)| Some(format!(" --{name}={}", value?)));
        given.collect()
    }
}
