//! Data that no letter can hold, as an object of a bucket.

use std::sync::Arc;

use bytes::Bytes;
use google_cloud_gax::error::rpc::Code;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use crate::cloud::Clients;
use crate::key::hex;
use crate::sink::SinkError;
use infra::error_chain;

/// The bucket, and what the names of its objects begin with.
#[derive(Debug)]
pub(super) struct Store {
    bucket: String,
    prefix: String,
    clients: Arc<Clients>,
}

/// Where data is.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) uri: String,
    pub(super) generation: String,
    pub(super) sha256: String,
}

impl Store {
    pub(super) fn new(bucket: &str, prefix: &str, clients: &Arc<Clients>) -> Self {
        Self { bucket: bucket.to_owned(), prefix: prefix.to_owned(), clients: Arc::clone(clients) }
    }

    /// Writes `<prefix>dead-letters/<digest>`, unless it is there.
    pub(super) async fn write(&self, data: &Bytes) -> Result<Stored, SinkError> {
        let sha256 = hex(&Sha256::digest(data));
        let object = format!("{}dead-letters/{sha256}", self.prefix);
        let uri = format!("gs://{}/{object}", self.bucket);
        let passing = |detail| SinkError::Passing { destination: uri.clone(), detail };
        let bucket = format!("projects/_/buckets/{}", self.bucket);
        let write = async {
            let client = self.clients.storage().await.map_err(|error| passing(error.to_string()))?;
            let written = client
                .write_object(&bucket, &object, data.clone())
                .set_if_generation_match(0_i64)
                .with_known_crc32c(crc32c::crc32c(data))
                .set_content_type("application/octet-stream")
                .send_unbuffered()
                .await;
            match written {
                Ok(object) => Ok(object.generation),
                Err(error) if exists(&error) => {
                    let found = client.read_object(&bucket, &object).send().await;
                    found.map(|found| found.object().generation).map_err(|error| passing(error_chain(&error)))
                }
                Err(error) => {
                    Err(passing(format!("data of a dead letter, {} bytes: {}", data.len(), error_chain(&error))))
                }
            }
        };
        let deadline = self.clients.deadline();
        let generation =
            timeout(deadline, write).await.map_err(|_| passing(format!("no answer in {deadline:?}")))??;
        Ok(Stored { uri, generation: generation.to_string(), sha256 })
    }
}

/// The precondition "no such object yet" failed.
fn exists(error: &google_cloud_storage::Error) -> bool {
    error.http_status_code() == Some(412)
        || error.status().is_some_and(|status| status.code == Code::FailedPrecondition)
}
