//! Service accounts: what services run as, and what pushes and triggers call them as.

use serde_json::{Value, json};

use super::desired::Desired;
use super::export::{Block, Export, Field};
use super::kind::{Api, Id, Kind};
use super::resource::{DEPLOYMENT_LABEL, Resource};
use super::spec::{Mark, Permission, Spec};

const ADMIN: &str = "roles/iam.serviceAccountAdmin";

pub(super) const SPEC: Spec = Spec {
    mark: Mark::Description,
    permissions: &[
        Permission::new("iam.serviceAccounts.create", ADMIN),
        Permission::new("iam.serviceAccounts.delete", ADMIN),
    ],
    export: Export::Resource(Block {
        resource: "google_service_account",
        name: account_id,
        arguments: |account| json!({"account_id": account_id(account.id.short())}),
        fields: &[
            ("displayName", Field::Written(declared_display_name)),
            // As with labels: Terraform has a record of what it created.
            ("description", Field::Omitted),
        ],
        depends_on: &[Kind::Api],
    }),
    ..Spec::new("service account", "service-account", Api::Iam)
};

/// The part of an email before `@`.
fn account_id(email: &str) -> &str {
    email.split('@').next().unwrap_or(email)
}

/// One that is not declared is the account's name, and says nothing.
fn declared_display_name(name: &Value, account: &Resource) -> Value {
    if *name == account_id(account.id.short()) { Value::Null } else { name.clone() }
}

/// The description of a service account that a deployment of this name created.
pub(crate) fn description(deployment: &str) -> String {
    format!("{DEPLOYMENT_LABEL}={deployment}")
}

impl Desired<'_> {
    pub(super) fn service_accounts(&self) -> Vec<Resource> {
        let accounts = self.topology.service_accounts.iter().map(|account| {
            let email = self.context.email(&account.name);
            let body = json!({
                "displayName": account.display_name.as_deref().unwrap_or(&account.name),
                "description": description(&self.topology.name),
            });
            self.resource(Kind::ServiceAccount, &SPEC, self.context.service_account(&email), body)
        });
        accounts.collect()
    }

    /// The account, if it is a declared one.
    pub(super) fn account_need(&self, account: Option<&String>) -> Option<Id> {
        let declared = account.filter(|account| self.topology.service_accounts.iter().any(|a| a.name == **account))?;
        Some(Id::new(Kind::ServiceAccount, self.context.service_account(&self.context.email(declared))))
    }
}
