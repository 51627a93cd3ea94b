//! One object a result, written once: the first writer wins, and a repeat finds the object there.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::error::SinkError;
use super::result::TaskResult;
use crate::clients::{Clients, write_once};
use crate::idempotency::object_segment;
use infra::error_chain;

/// Writes in flight to one bucket; more wait.
const MAX_WRITES: usize = 64;

#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    prefix: String,
    clients: Arc<Clients>,
    write_permits: Semaphore,
}

impl Bucket {
    pub(super) fn new(name: &str, prefix: &str, clients: &Arc<Clients>) -> Self {
        Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            clients: Arc::clone(clients),
            write_permits: Semaphore::new(MAX_WRITES),
        }
    }

    /// Writes `<prefix><task>/<key>.json` unless it exists; one that exists is the same result, delivered before.
    pub(super) async fn write(&self, result: &TaskResult<'_>) -> Result<(), SinkError> {
        let object = format!("{}{}/{}.json", self.prefix, result.task, object_segment(&result.key));
        let passing = |detail| SinkError::Passing { destination: format!("gs://{}/{object}", self.name), detail };
        let write = async {
            let _permit = self.write_permits.acquire().await.map_err(|_| passing("shutting down".into()))?;
            let client = self.clients.storage().await.map_err(|error| passing(error.to_string()))?;
            let body = result.body.clone();
            match write_once(client, &self.name, &object, body, "application/json").await {
                Ok(_written_or_exists) => Ok(()),
                Err(error) => {
                    let advice = match error.http_status_code() {
                        Some(404) => "there is no such bucket; create it: ",
                        Some(401 | 403) => {
                            "not allowed; grant this process's account roles/storage.objectUser on the bucket: "
                        }
                        _ => "",
                    };
                    Err(passing(format!("{advice}{}", error_chain(&error))))
                }
            }
        };
        let deadline = self.clients.deadline();
        match timeout(deadline, write).await {
            Ok(answer) => answer,
            Err(_) => Err(passing(format!("no answer in {deadline:?}"))),
        }
    }
}
