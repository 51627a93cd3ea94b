//! The bucket of the archives, and which buckets services write to.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::desired::Desired;
use super::export::{Block, Export, Field};
use super::grant::{OBJECT_USER, objects, within};
use super::kind::{Api, Id, Kind};
use super::resource::Resource;
use super::spec::{Mark, Permission, Spec};
use infra::topology::{Destination, PROJECT, Service};

pub(super) const SPEC: Spec = Spec {
    mark: Mark::Label,
    permissions: &[
        Permission::new("storage.buckets.create", "roles/storage.admin"),
        Permission::new("storage.buckets.update", "roles/storage.admin"),
    ],
    export: Export::Resource(Block {
        resource: "google_storage_bucket",
        name: |_| "archive",
        // Terraform does not know what the function writes there, which would keep the bucket from being deleted.
        arguments: |bucket| json!({"name": bucket.id.name, "force_destroy": true}),
        fields: &[
            ("iamConfiguration", Field::Flattened),
            ("iamConfiguration.uniformBucketLevelAccess", Field::Flattened),
            ("iamConfiguration.uniformBucketLevelAccess.enabled", Field::Named("uniform_bucket_level_access")),
            ("lifecycle", Field::Flattened),
            ("lifecycle.rule", Field::Named("lifecycle_rule")),
        ],
        depends_on: &[Kind::Api],
    }),
    ..Spec::new("bucket", "bucket", Api::Storage)
};

impl Desired<'_> {
    pub(super) fn bucket(&self) -> Option<Resource> {
        let archive = self.topology.archive.as_ref()?;
        let mut body = json!({
            "labels": self.labels(&BTreeMap::new()),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": true},
                "publicAccessPrevention": "enforced",
            },
            // Without this Cloud Storage would keep, and bill, every deleted archive and ledger entry for a week.
            "softDeletePolicy": {"retentionDurationSeconds": archive.soft_delete.unwrap_or_default().as_secs()},
        });
        let rules = self.topology.expiries().into_iter().map(|(prefix, days)| {
            json!({"action": {"type": "Delete"}, "condition": {"age": days, "matchesPrefix": [prefix]}})
        });
        let rules: Vec<Value> = rules.collect();
        if !rules.is_empty() {
            body["lifecycle"] = json!({ "rule": rules });
        }
        let mut bucket = self.resource(Kind::Bucket, &SPEC, self.bucket_id()?.name, body);
        bucket.creation = json!({"location": self.context.region});
        Some(bucket)
    }

    pub(super) fn bucket_id(&self) -> Option<Id> {
        let archive = self.topology.archive.as_ref()?;
        Some(Id::new(Kind::Bucket, archive.bucket(&self.context.project)))
    }

    /// The buckets that a service writes to, and the role that it needs there.
    ///
    /// In the archive's bucket the role is limited to the objects of the ledger: an account that can write archives can
    /// run anything. In another bucket there is no condition, since one is refused without uniform access.
    pub(super) fn written_buckets(&self, service: &Service) -> Vec<(String, String)> {
        let results = service.results.iter().filter_map(|result| match result {
            Destination::Bucket { bucket, .. } => {
                Some((bucket.replace(PROJECT, &self.context.project), OBJECT_USER.to_owned()))
            }
            _ => None,
        });
        let ledger = service.ledger.as_ref().map(|ledger| {
            let bucket = ledger.bucket(&self.context.project);
            let own = self.topology.archive.as_ref().is_some_and(|archive| archive.bucket == ledger.bucket);
            let role = match own {
                true => within(OBJECT_USER, &objects(&bucket, &ledger.prefix)),
                false => OBJECT_USER.to_owned(),
            };
            (bucket, role)
        });
        results.chain(ledger).collect()
    }
}
