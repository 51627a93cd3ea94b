//! One Google Cloud project.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use deploy::cloud::Api;
use serde_json::{Value, json};

use super::account::Account;
use super::call::{Call, Failure};
use super::operation::Operation;
use super::run::Service;
use super::secret::Secret;
use super::upstream::Upstream;
use crate::discovery::Documents;

/// The number of every project here.
pub(super) const PROJECT_NUMBER: &str = "123456789012";

/// How much patience a client needs.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Looks at an operation, or at its resource, before it is done; with 0 it is done at once.
    pub polls: u32,
    /// Uses of a new service account that fail, as if it did not exist.
    pub account_lag: u32,
    /// Calls of an API that fail after it was enabled.
    pub api_lag: u32,
    /// The APIs that are enabled at the start; Service Usage always is.
    pub enabled: Vec<Api>,
    /// Whether a revision can be made from a zip file too.
    pub zip_archives: bool,
    /// Whether Eventarc and Pub/Sub name resources with the project's number, and in full.
    pub numbers: bool,
    /// Deployments of an archive that end in `RESOURCE_EXHAUSTED`: alternately at once and as a failed operation.
    pub exhausted: u32,
    /// Whether a caller without `x-goog-user-project` has a quota project; credentials of `gcloud auth
    /// application-default login` may lack one.
    pub quota_project: bool,
    /// Whether Google's service agents are there, with their roles, as in a project that has used the services for
    /// long. Else Pub/Sub's agent is created on request alone, without a role.
    pub agents: bool,
    /// Grants to a service agent that fail after it was created, as if it did not exist.
    pub agent_lag: u32,
    /// Triggers that Eventarc refuses at first, because its agent has no permissions yet: in turns with 403, with
    /// 400, and in an operation that fails.
    pub eventarc_lag: u32,
}

impl Default for Behaviour {
    /// A new project: two looks, two failing uses, one failing call, no agents.
    fn default() -> Self {
        Self {
            polls: 2,
            account_lag: 2,
            api_lag: 1,
            enabled: vec![Api::ServiceUsage, Api::Storage],
            zip_archives: false,
            numbers: true,
            exhausted: 0,
            quota_project: true,
            agents: false,
            agent_lag: 2,
            eventarc_lag: 3,
        }
    }
}

impl Behaviour {
    /// A project that has used every service before: all APIs are enabled, and Google's agents are there.
    pub fn old_project() -> Self {
        Self { api_lag: 0, enabled: Api::ALL.to_vec(), agents: true, agent_lag: 0, eventarc_lag: 0, ..Self::default() }
    }
}

/// Permissions that the caller lacks.
pub(super) type Denied = Arc<Mutex<BTreeSet<String>>>;

/// Everything that the project holds.
#[derive(Debug)]
pub(super) struct State {
    pub(super) documents: &'static Documents,
    pub(super) project: String,
    pub(super) behaviour: Behaviour,
    pub(super) upstream: Upstream,
    pub(super) operations: Vec<Operation>,
    /// How the next operation fails, whatever it does.
    pub(super) next_failure: Option<Failure>,
    /// By resource: a full name, `b/BUCKET` for a bucket.
    pub(super) policies: BTreeMap<String, Value>,
    /// By email.
    pub(super) accounts: BTreeMap<String, Account>,
    /// By Service Usage's name, with the calls that still fail.
    pub(super) enabled: BTreeMap<String, u32>,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) triggers: BTreeMap<String, Value>,
    /// By full name, with the project's number.
    pub(super) secrets: BTreeMap<String, Secret>,
    /// Pub/Sub's service agent: grants to it that still fail; `None` before it is created.
    pub(super) agent: Option<u32>,
    /// Triggers that Eventarc still refuses.
    pub(super) eventarc_lag: u32,
    /// What Cloud Storage keeps of a bucket and fake-gcs-server does not.
    pub(super) buckets: BTreeMap<String, Value>,
    /// Buckets that the caller may not read.
    pub(super) closed: BTreeSet<String>,
    pub(super) denied: Denied,
}

impl State {
    pub(super) fn new(
        documents: &'static Documents,
        project: &str,
        behaviour: Behaviour,
        upstream: Upstream,
        denied: Denied,
    ) -> Self {
        let enabled = behaviour.enabled.iter().chain([&Api::ServiceUsage]);
        Self {
            documents,
            project: project.to_owned(),
            enabled: enabled.map(|api| (api.service().to_owned(), 0)).collect(),
            agent: behaviour.agents.then_some(0),
            eventarc_lag: behaviour.eventarc_lag,
            secrets: BTreeMap::new(),
            behaviour,
            upstream,
            operations: Vec::new(),
            next_failure: None,
            policies: BTreeMap::new(),
            accounts: BTreeMap::new(),
            services: BTreeMap::new(),
            triggers: BTreeMap::new(),
            buckets: BTreeMap::new(),
            closed: BTreeSet::new(),
            denied,
        }
    }

    /// Refuses a caller whose credentials name no project to count its calls for.
    pub(super) fn quota_project(&self, call: &Call) -> Result<(), Failure> {
        // Cloud Storage counts for the bucket's own project.
        if self.behaviour.quota_project || call.api == Api::Storage || call.headers.contains_key("x-goog-user-project")
        {
            return Ok(());
        }
        let service = call.api.service();
        let mut failure = Failure::denied(format!(
            "Your application is authenticating by using local Application Default Credentials. The {service} API \
                requires a quota project, which is not set by default. To learn how to set your quota project, see \
                https://cloud.google.com/docs/authentication/adc-troubleshooting/user-creds ."
        ));
        // The project of gcloud's own client.
        failure.details.push(service_disabled(service, "projects/764086051850"));
        Err(failure)
    }

    /// Refuses another project.
    pub(super) fn project_in(&self, call: &Call) -> Result<(), Failure> {
        let target = call.target();
        let named = match target.segments.as_slice() {
            ["projects", project, ..] => Some((*project).to_owned()),
            _ if call.api == Api::Storage => call.query("project").map(str::to_owned),
            _ => None,
        };
        // Service accounts may be named without their project.
        let ours =
            |named: &str| named == self.project || named == PROJECT_NUMBER || (named == "-" && call.api == Api::Iam);
        match named {
            Some(named) if !ours(&named) => Err(Failure::denied(format!(
                "Permission denied on resource project {named}: the caller has only {}",
                self.project
            ))),
            _ => Ok(()),
        }
    }
}

/// Why an API is not to be called, in an error's details.
pub(super) fn service_disabled(service: &str, consumer: &str) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "SERVICE_DISABLED",
        "domain": "googleapis.com",
        "metadata": {"service": service, "consumer": consumer},
    })
}

/// The project, by its number.
pub(super) fn consumer() -> Value {
    json!(format!("projects/{PROJECT_NUMBER}"))
}
