//! Data that does not fit into a letter, as an object in a bucket.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::timeout;

use crate::clients::{Clients, generation, write_once};
use crate::digest::sha256_hex;
use crate::sink::SinkError;
use infra::error_chain;

/// The bucket, and what the names of its objects begin with.
#[derive(Debug)]
pub(super) struct Store {
    bucket: String,
    prefix: String,
    clients: Arc<Clients>,
}

/// An object with data.
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
        let sha256 = sha256_hex(data);
        let object = format!("{}dead-letters/{sha256}", self.prefix);
        let uri = format!("gs://{}/{object}", self.bucket);
        let passing = |detail| SinkError::Passing { destination: uri.clone(), detail };
        let write = async {
            let client = self.clients.storage().await.map_err(|error| passing(error.to_string()))?;
            match write_once(client, &self.bucket, &object, data.clone(), "application/octet-stream").await {
                Ok(Some(written)) => Ok(written),
                Ok(None) => {
                    generation(client, &self.bucket, &object).await.map_err(|error| passing(error_chain(&error)))
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
