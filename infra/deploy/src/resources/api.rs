//! Google's APIs, each of which has to be enabled in the project.

use serde_json::json;

use super::export::{Block, Export, first_label};
use super::kind::{Permission, Spec};
use super::{Desired, Kind, Resource};

/// A Google API that a deployment calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Api {
    /// Cloud Run Admin API v2.
    Run,
    /// Eventarc v1.
    Eventarc,
    /// Pub/Sub v1.
    PubSub,
    /// Cloud Storage, JSON API v1.
    Storage,
    /// IAM v1: service accounts.
    Iam,
    /// Resource Manager v3: the project.
    ResourceManager,
    /// Service Usage v1: which APIs are enabled; v1beta1: service agents.
    ServiceUsage,
    /// Secret Manager v1: needed only where a topology declares secrets.
    SecretManager,
}

/// Enables an API, and creates the service agent of one.
pub(super) const ENABLE: Permission =
    Permission::new("serviceusage.services.enable", "roles/serviceusage.serviceUsageAdmin");

pub(super) const SPEC: Spec = Spec {
    permissions: &[
        Permission::new("resourcemanager.projects.get", "roles/browser"),
        Permission::new("serviceusage.services.list", "roles/serviceusage.serviceUsageViewer"),
    ],
    export: Export::Resource(Block {
        resource: "google_project_service",
        name: first_label,
        arguments: |api| json!({"service": api.id.name, "disable_on_destroy": false}),
        // It is enabled by being there.
        fields: &[("state", super::export::Field::Omitted)],
        depends_on: &[],
    }),
    ..Spec::new("API", "api", Api::ServiceUsage)
};

impl Api {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Run,
        Self::Eventarc,
        Self::PubSub,
        Self::Storage,
        Self::Iam,
        Self::ResourceManager,
        Self::ServiceUsage,
        Self::SecretManager,
    ];

    /// Those that every deployment calls.
    pub fn always() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|api| *api != Self::SecretManager)
    }

    /// The name under which Service Usage enables it, `run.googleapis.com` for example.
    pub fn service(self) -> &'static str {
        match self {
            Self::Run => "run.googleapis.com",
            Self::Eventarc => "eventarc.googleapis.com",
            Self::PubSub => "pubsub.googleapis.com",
            Self::Storage => "storage.googleapis.com",
            Self::Iam => "iam.googleapis.com",
            Self::ResourceManager => "cloudresourcemanager.googleapis.com",
            Self::ServiceUsage => "serviceusage.googleapis.com",
            Self::SecretManager => "secretmanager.googleapis.com",
        }
    }
}

impl Desired<'_> {
    /// The APIs that the declared resources belong to, by name.
    pub(super) fn apis(&self) -> Vec<Resource> {
        let services = &self.topology.services;
        let needed = |api: &Api| match api {
            Api::Run => !services.is_empty(),
            Api::Eventarc => services.iter().any(|service| service.trigger.is_some()),
            // A foreign bucket needs it too: without the API its policy cannot be read.
            Api::Storage => {
                self.topology.archive.is_some()
                    || services.iter().any(|service| !self.written_buckets(service).is_empty())
            }
            Api::SecretManager => self.topology.declares_secrets(),
            Api::PubSub | Api::Iam | Api::ResourceManager | Api::ServiceUsage => true,
        };
        let mut names: Vec<&str> = Api::ALL.iter().filter(|api| needed(api)).map(|api| api.service()).collect();
        names.sort_unstable();
        names.into_iter().map(|name| self.resource(Kind::Api, name.to_owned(), json!({"state": "ENABLED"}))).collect()
    }
}
