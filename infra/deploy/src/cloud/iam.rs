//! Service accounts, and who may act as them.

use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_admin_v1::client::Iam as Client;
use google_cloud_iam_admin_v1::model::ServiceAccount;
use google_cloud_iam_v1::model::Policy;
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::google::{all, install, mask, model, requested_version, value};
use super::settings::{Api, Settings};
use crate::plan::Change;

#[derive(Debug)]
pub(super) struct Iam {
    client: Client,
}

impl Iam {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self { client: install!(Client, settings, Api::Iam) })
    }

    pub(super) async fn read(&self, name: &str) -> Result<Value, CloudError> {
        value(&self.client.get_service_account().set_name(name).send().await?)
    }

    pub(super) async fn list(&self, parent: &str) -> Result<Vec<Value>, CloudError> {
        all!(self.client.list_service_accounts().set_name(parent).by_item(), value)
    }

    pub(super) async fn create(&self, name: &str, body: &Value) -> Result<(), CloudError> {
        let wrong = || CloudError::new(Fault::Wrong, format!("`{name}` is no name of a service account"));
        let (project, email) = name.split_once("/serviceAccounts/").ok_or_else(wrong)?;
        let account = email.split('@').next().unwrap_or(email);
        let request = self.client.create_service_account().set_name(project).set_account_id(account);
        request.set_service_account(model::<ServiceAccount>(body.clone())?).send().await?;
        Ok(())
    }

    pub(super) async fn update(&self, body: &Value, changes: &[Change]) -> Result<(), CloudError> {
        let account: ServiceAccount = model(body.clone())?;
        self.client.patch_service_account().set_service_account(account).set_update_mask(mask(changes)).send().await?;
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), CloudError> {
        Ok(self.client.delete_service_account().set_name(name).send().await?)
    }
    /// With conditions, which version 3 of policies has: <https://cloud.google.com/iam/docs/policies#versions>.
    pub(super) async fn read_policy(&self, name: &str) -> Result<Value, CloudError> {
        value(&self.client.get_iam_policy().set_resource(name).set_options(requested_version()).send().await?)
    }

    pub(super) async fn write_policy(&self, name: &str, body: Value) -> Result<(), CloudError> {
        self.client.set_iam_policy().set_resource(name).set_policy(model::<Policy>(body)?).send().await?;
        Ok(())
    }
}
