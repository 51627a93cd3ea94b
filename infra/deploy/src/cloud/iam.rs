//! Service accounts, and who may act as them.

use futures_util::FutureExt;
use google_cloud_iam_admin_v1::client::Iam;
use google_cloud_iam_admin_v1::model::ServiceAccount;
use google_cloud_iam_v1::model::Policy;
use serde_json::Value;

use super::calls::{Call, Calls, Update};
use super::client::{build_client, collect_pages, mask, model, requested_version, split, value};
use super::error::CloudError;
use super::settings::Settings;
use crate::resources::{Api, Context};

#[derive(Debug)]
pub(super) struct ServiceAccounts {
    client: Iam,
}

impl ServiceAccounts {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self { client: build_client!(Iam, settings, Api::Iam) })
    }
}

impl Calls for ServiceAccounts {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        async move { value(&self.client.get_service_account().set_name(name).send().await?) }.boxed()
    }

    fn list<'a>(&'a self, at: &'a Context) -> Call<'a, Vec<Value>> {
        let request = self.client.list_service_accounts().set_name(at.parent());
        async move { collect_pages!(request.by_item(), value) }.boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, name: &'a str, body: Value) -> Call<'a, ()> {
        async move {
            let (project, email) = split(name, "/serviceAccounts/", "service account")?;
            let account = email.split('@').next().unwrap_or(email);
            let request = self.client.create_service_account().set_name(project).set_account_id(account);
            request.set_service_account(model::<ServiceAccount>(body)?).send().await?;
            Ok(())
        }
        .boxed()
    }

    fn update<'a>(&'a self, _: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        async move {
            let request = self.client.patch_service_account().set_update_mask(mask(update.changes));
            request.set_service_account(model::<ServiceAccount>(update.body)?).send().await?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        async move { Ok(self.client.delete_service_account().set_name(name).send().await?) }.boxed()
    }

    fn read_policy<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        let request = self.client.get_iam_policy().set_resource(name).set_options(requested_version());
        async move { value(&request.send().await?) }.boxed()
    }

    fn write_policy<'a>(&'a self, _: &'a Context, name: &'a str, policy: Value) -> Call<'a, ()> {
        async move {
            self.client.set_iam_policy().set_resource(name).set_policy(model::<Policy>(policy)?).send().await?;
            Ok(())
        }
        .boxed()
    }
}
