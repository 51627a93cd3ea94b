//! Google's APIs, each of which has to be enabled in the project.

use serde_json::json;

use super::desired::Desired;
use super::export::{Block, Export, Field, first_label};
use super::kind::{Api, Kind};
use super::resource::Resource;
use super::spec::{Permission, Spec};

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
        fields: &[("state", Field::Omitted)],
        depends_on: &[],
    }),
    ..Spec::new("API", "api", Api::ServiceUsage)
};

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
        names
            .into_iter()
            .map(|name| self.resource(Kind::Api, &SPEC, name.to_owned(), json!({"state": "ENABLED"})))
            .collect()
    }
}
