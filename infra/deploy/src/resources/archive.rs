//! The archive with the built function, an object of the bucket that is named by its content.

use serde_json::json;

use super::desired::Desired;
use super::export::{ARCHIVE_BUCKET, Block, Export};
use super::kind::{Api, Id, Kind};
use super::resource::Resource;
use super::spec::{Permission, Spec};

pub(super) const SPEC: Spec = Spec {
    permissions: &[Permission::new("storage.objects.create", "roles/storage.admin")],
    export: Export::Resource(Block {
        resource: "google_storage_bucket_object",
        name: |_| "archive",
        arguments: |archive| {
            let bucket = archive.id.name.split('/').next().filter(|bucket| *bucket == ARCHIVE_BUCKET);
            json!({
                "bucket": bucket.unwrap_or("${google_storage_bucket.archive.name}"),
                "//": "Named by its digest, and made before the one before it goes: a revision must find its archive.",
                // A gzip file begins with 1f 8b 08.
                "name":
                    "${filesha256(var.archive)}.\
                        ${substr(filebase64(var.archive), 0, 4) == \"H4sI\" ? \"tar.gz\" : \"zip\"}",
                "source": "${var.archive}",
                "lifecycle": {"create_before_destroy": true},
            })
        },
        fields: &[],
        depends_on: &[],
    }),
    ..Spec::new("archive", "archive", Api::Storage)
};

impl Desired<'_> {
    pub(super) fn archive(&self) -> Option<Resource> {
        let mut archive = self.resource(Kind::Archive, &SPEC, self.archive_id()?.name, json!({}));
        archive.needs.extend(self.bucket_id());
        Some(archive)
    }

    pub(super) fn archive_id(&self) -> Option<Id> {
        Some(Id::new(Kind::Archive, format!("{}/{}", self.bucket_id()?.name, self.context.object())))
    }
}
