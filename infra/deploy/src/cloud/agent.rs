//! Service agents: the accounts as which Google's services act in a project. They are created on first use, too late for grants
//! that name them: <https://cloud.google.com/iam/docs/create-service-agents>.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::rest::Rest;
use super::settings::{Api, Settings};

/// How often an operation is looked at.
const POLLS: u32 = 60;

/// Service Usage v1beta1, for the one method that v1 and its client lack.
#[derive(Debug)]
pub(super) struct Agents {
    rest: Rest,
    pause: Duration,
}

impl Agents {
    pub(super) fn new(settings: &Settings) -> Result<Self, CloudError> {
        let local = settings.endpoint(Api::ServiceUsage).is_local();
        Ok(Self {
            rest: Rest::new(settings, Api::ServiceUsage)?,
            pause: Duration::from_millis(if local { 10 } else { 1000 }),
        })
    }

    /// Creates the service agent of a service, `projects/NUMBER/services/SERVICE`, and waits until it is there. One that is there
    /// already stays as it is.
    pub(super) async fn create(&self, service: &str) -> Result<(), CloudError> {
        let path = format!("/v1beta1/{service}:generateServiceIdentity");
        let mut operation = self.rest.send(Method::POST, &path, None).await?;
        for _ in 0..POLLS {
            if operation["done"] == true {
                return ended(&operation);
            }
            let Some(name) = operation["name"].as_str().filter(|name| !name.is_empty()) else {
                return Err(CloudError::new(Fault::Wrong, format!("an answer without an operation: {operation}")));
            };
            tokio::time::sleep(self.pause).await;
            operation = self.rest.send(Method::GET, &format!("/v1beta1/{name}"), None).await?;
        }
        Err(CloudError::new(Fault::Passing, "the operation that creates it is still running"))
    }
}

/// <https://google.aip.dev/151>: an operation that is done has a response or an error.
fn ended(operation: &Value) -> Result<(), CloudError> {
    let error = &operation["error"];
    if error.is_null() {
        return Ok(());
    }
    let message = error["message"].as_str().unwrap_or("the operation failed without a reason");
    // The numbers of gRPC: https://grpc.io/docs/guides/status-codes/
    let status = match error["code"].as_u64() {
        Some(7 | 16) => 403,
        Some(3 | 9 | 11) => 400,
        Some(5) => 404,
        Some(6 | 10) => 409,
        _ => 503,
    };
    Err(CloudError::http(status, message.to_owned()))
}
