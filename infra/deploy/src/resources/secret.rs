//! Secrets of Secret Manager that services read. A deployment grants them; it neither creates them nor reads their
//! values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::desired::Desired;
use super::kind::{Api, Kind};
use super::resource::Resource;
use super::spec::{Permission, Spec};
use infra::topology::Service;

pub(super) const SPEC: Spec = Spec {
    permissions: &[Permission::new("secretmanager.secrets.get", "roles/secretmanager.admin")],
    ..Spec::new("secret", "secret", Api::SecretManager)
};

impl Desired<'_> {
    /// The secrets that services read, each with the versions that they name.
    pub(super) fn secrets(&self) -> Vec<Resource> {
        let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
        for secret in self.topology.services.iter().flat_map(|service| service.secrets.values()) {
            all.entry(self.context.secret(secret)).or_default().insert(&secret.version);
        }
        let secret = |(name, versions)| self.resource(Kind::Secret, &SPEC, name, json!({ "versions": versions }));
        all.into_iter().map(secret).collect()
    }

    /// The secrets that a service reads, by their full names.
    pub(super) fn read_secrets<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = String> + 's {
        service.secrets.values().map(|secret| self.context.secret(secret))
    }
}

/// The secrets that the first container of a found service reads, as it names them.
pub(crate) fn secrets_in(service: &Value) -> impl Iterator<Item = &str> {
    let variables = service["template"]["containers"][0]["env"].as_array().into_iter().flatten();
    variables.filter_map(|variable| variable["valueSource"]["secretKeyRef"]["secret"].as_str())
}
