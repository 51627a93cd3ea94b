//! One object a result, written once: the first writer wins, and a repeat finds the object there.

use std::sync::Arc;

use google_cloud_gax::error::rpc::Code;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{SinkError, TaskResult};
use crate::cloud::Clients;
use crate::key::object_segment;
use infra::error_chain;

/// Writes in flight to one bucket; more wait.
const WRITES: usize = 64;

#[derive(Debug)]
pub(super) struct Bucket {
    name: String,
    prefix: String,
    clients: Arc<Clients>,
    room: Semaphore,
}

impl Bucket {
    pub(super) fn new(name: &str, prefix: &str, clients: &Arc<Clients>) -> Self {
        Self {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            clients: Arc::clone(clients),
            room: Semaphore::new(WRITES),
        }
    }

    /// Writes `<prefix><task>/<key>.json` unless it exists; one that exists is the same result, delivered before.
    pub(super) async fn write(&self, result: &TaskResult<'_>) -> Result<(), SinkError> {
        let object = format!("{}{}/{}.json", self.prefix, result.task, object_segment(&result.key));
        let passing = |detail| SinkError::Passing { destination: format!("gs://{}/{object}", self.name), detail };
        let write = async {
            let _room = self.room.acquire().await.map_err(|_| passing("shutting down".into()))?;
            let client = self.clients.storage().await.map_err(|error| passing(error.to_string()))?;
            let answer = client
                .write_object(format!("projects/_/buckets/{}", self.name), &object, result.body.clone())
                .set_if_generation_match(0_i64)
                // Known beforehand, it goes with the metadata; else in a third part, which fake-gcs-server takes for the object.
                .with_known_crc32c(crc32c::crc32c(&result.body))
                .set_content_type("application/json")
                .send_unbuffered()
                .await;
            match answer {
                Ok(_) => Ok(()),
                Err(error) if exists(&error) => Ok(()),
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

/// The precondition "no such object yet" failed.
fn exists(error: &google_cloud_storage::Error) -> bool {
    error.http_status_code() == Some(412)
        || error.status().is_some_and(|status| status.code == Code::FailedPrecondition)
}
