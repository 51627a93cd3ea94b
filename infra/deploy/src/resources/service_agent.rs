//! Pub/Sub's service agent: the account as which it forwards dead letters and signs the tokens of pushes.
//!
//! Google creates it on first use, too late for grants that name it, so a deployment asks for it:
//! <https://cloud.google.com/iam/docs/create-service-agents>.

use serde_json::json;

use super::desired::Desired;
use super::export::{Block, Export, Field, first_label};
use super::kind::{Api, Id, Kind};
use super::resource::Resource;
use super::spec::Spec;

pub(super) const SPEC: Spec = Spec {
    summary: |body| body["email"].as_str().unwrap_or_default().to_owned(),
    export: Export::Resource(Block {
        resource: "google_project_service_identity",
        name: first_label,
        arguments: |agent| json!({"provider": "google-beta", "project": "${var.project}", "service": agent.id.short()}),
        // Google chooses the name.
        fields: &[("email", Field::Omitted), ("member", Field::Omitted)],
        depends_on: &[Kind::Api],
    }),
    // Service Usage creates it, once the agent's own API is enabled.
    ..Spec::new("service agent", "service-agent", Api::PubSub)
};

impl Desired<'_> {
    /// Pub/Sub's service agent, where one of these policies grants it something.
    pub(super) fn service_agent(&self, policies: &[Resource]) -> Option<Resource> {
        let id = self.service_agent_id();
        let email = self.context.pubsub_agent();
        let body = json!({"email": email, "member": format!("serviceAccount:{email}")});
        let needed = policies.iter().any(|policy| policy.needs.contains(&id));
        needed.then(|| self.resource(Kind::ServiceAgent, &SPEC, id.name, body))
    }

    pub(super) fn service_agent_id(&self) -> Id {
        Id::new(Kind::ServiceAgent, self.context.pubsub_identity())
    }
}
