//! Service agents: the accounts as which Google's services act in a project. They are created on first use, too late
//! for grants that name them: <https://cloud.google.com/iam/docs/create-service-agents>.

use std::time::Duration;

use futures_util::FutureExt;
use reqwest::Method;
use serde_json::Value;

use super::calls::{Call, Calls, missing};
use super::error::{CloudError, Fault};
use super::rest::RestClient;
use super::settings::Settings;
use crate::resources::{Api, Context};

/// How often an operation is polled, and how long apart: once a second, or at once where a stand-in answers.
const MAX_POLLS: u32 = 60;
const POLL_INTERVAL: Duration = Duration::from_secs(1);
const LOCAL_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Service Usage v1beta1, for the one method that v1 and its client lack.
#[derive(Debug)]
pub(super) struct Agents {
    rest: RestClient,
    poll_interval: Duration,
}

impl Agents {
    pub(super) fn new(settings: &Settings) -> Result<Self, CloudError> {
        let local = settings.endpoint(Api::ServiceUsage).is_local();
        Ok(Self {
            rest: RestClient::new(settings, Api::ServiceUsage)?,
            poll_interval: if local { LOCAL_POLL_INTERVAL } else { POLL_INTERVAL },
        })
    }

    /// Creates the service agent of a service, `projects/NUMBER/services/SERVICE`, and waits until it is there. One
    /// that is there already stays as it is.
    async fn generate(&self, service: &str) -> Result<(), CloudError> {
        let path = format!("/v1beta1/{service}:generateServiceIdentity");
        let mut operation = self.rest.send(Method::POST, &path, None).await?;
        for _ in 0..MAX_POLLS {
            if operation["done"] == true {
                return ended(&operation);
            }
            let Some(name) = operation["name"].as_str().filter(|name| !name.is_empty()) else {
                return Err(CloudError::new(Fault::Wrong, format!("an answer without an operation: {operation}")));
            };
            tokio::time::sleep(self.poll_interval).await;
            operation = self.rest.send(Method::GET, &format!("/v1beta1/{name}"), None).await?;
        }
        Err(CloudError::new(Fault::Passing, "the operation that creates it is still running"))
    }
}

/// Google tells of an agent only where a policy names it, so a plan does.
impl Calls for Agents {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        missing(name)
    }

    fn create<'a>(&'a self, at: &'a Context, name: &'a str, _: Value) -> Call<'a, ()> {
        async move {
            let service = name.rsplit('/').next().unwrap_or(name);
            self.generate(&format!("projects/{}/services/{service}", at.number)).await
        }
        .boxed()
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
