//! The project: its number (Resource Manager) and its APIs (Service Usage).

use futures_util::FutureExt;
use google_cloud_api_serviceusage_v1::client::ServiceUsage;
use google_cloud_api_serviceusage_v1::model::State;
use google_cloud_lro::Poller;
use google_cloud_resourcemanager_v3::client::Projects;
use serde_json::{Value, json};

use super::calls::{Call, Calls, missing};
use super::client::build_client;
use super::error::{CloudError, Fault};
use super::settings::Settings;
use crate::resources::{Api, Context};

#[derive(Debug)]
pub(super) struct Project {
    id: String,
    projects: Projects,
    usage: ServiceUsage,
}

impl Project {
    pub(super) async fn new(settings: &Settings, id: &str) -> Result<Self, CloudError> {
        Ok(Self {
            id: id.to_owned(),
            projects: build_client!(Projects, settings, Api::ResourceManager),
            usage: build_client!(ServiceUsage, settings, Api::ServiceUsage),
        })
    }

    /// The project's number, from Resource Manager, or from Service Usage where Resource Manager is not enabled yet.
    pub(super) async fn number(&self) -> Result<String, CloudError> {
        let name = format!("projects/{}", self.id);
        let answer = self.projects.get_project().set_name(&name).send().await.map_err(CloudError::from);
        let found = match answer {
            Ok(project) => project.name,
            Err(error) if error.fault == Fault::Disabled => {
                let api = format!("{name}/services/{}", Api::ResourceManager.service());
                self.usage.get_service().set_name(api).send().await.map_err(CloudError::from)?.parent
            }
            Err(error) => {
                let help = match error.fault {
                    Fault::Missing | Fault::Denied => "\n  help: check its id, and that your account has a role in it",
                    _ => "",
                };
                let message = format!("cannot read project `{}`: {}{help}", self.id, error.message);
                return Err(CloudError { message, ..error });
            }
        };
        Ok(found.trim_start_matches("projects/").to_owned())
    }

    /// Which of these APIs are enabled.
    pub(super) async fn enabled(&self, apis: &[&str]) -> Result<Vec<String>, CloudError> {
        if apis.is_empty() {
            return Ok(Vec::new());
        }
        let parent = format!("projects/{}", self.id);
        let names = apis.iter().map(|api| format!("{parent}/services/{api}"));
        let answer = self.usage.batch_get_services().set_parent(&parent).set_names(names).send().await?;
        let enabled = answer.services.into_iter().filter(|service| service.state == State::Enabled);
        Ok(enabled.filter_map(|service| Some(service.name.rsplit('/').next()?.to_owned())).collect())
    }

    /// Those of these permissions in the project that the caller does not have.
    pub(super) async fn missing<'p>(&self, permissions: &[&'p str]) -> Result<Vec<&'p str>, CloudError> {
        let request = self.projects.test_iam_permissions().set_resource(format!("projects/{}", self.id));
        let held = request.set_permissions(permissions.iter().copied()).send().await?.permissions;
        Ok(permissions.iter().copied().filter(|permission| !held.iter().any(|held| held == permission)).collect())
    }
}

/// The APIs. None is disabled again, since others may use it.
impl Calls for Project {
    fn read<'a>(&'a self, _: &'a Context, api: &'a str) -> Call<'a, Value> {
        async move {
            match self.enabled(&[api]).await?.is_empty() {
                true => missing(api).await,
                false => Ok(json!({"state": "ENABLED"})),
            }
        }
        .boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, api: &'a str, _: Value) -> Call<'a, ()> {
        async move {
            let name = format!("projects/{}/services/{api}", self.id);
            self.usage.enable_service().set_name(name).poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }
}
