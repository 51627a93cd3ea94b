//! Eventarc triggers.

use google_cloud_eventarc_v1::client::Eventarc as Client;
use google_cloud_eventarc_v1::model::Trigger;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_lro::Poller;
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::google::{all, install, mask, model, value};
use super::settings::{Api, Settings};
use crate::plan::Change;

#[derive(Debug)]
pub(super) struct Eventarc {
    client: Client,
}

impl Eventarc {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self { client: install!(Client, settings, Api::Eventarc) })
    }

    pub(super) async fn read(&self, name: &str) -> Result<Value, CloudError> {
        value(&self.client.get_trigger().set_name(name).send().await?)
    }

    pub(super) async fn list(&self, parent: &str) -> Result<Vec<Value>, CloudError> {
        all!(self.client.list_triggers().set_parent(parent).by_item(), value)
    }

    pub(super) async fn create(&self, name: &str, body: &Value) -> Result<(), CloudError> {
        let wrong = || CloudError::new(Fault::Wrong, format!("`{name}` is no name of a trigger"));
        let (parent, id) = name.split_once("/triggers/").ok_or_else(wrong)?;
        let trigger = model::<Trigger>(body.clone())?.set_name(name);
        let request = self.client.create_trigger().set_parent(parent).set_trigger_id(id).set_trigger(trigger);
        request.poller().until_done().await?;
        Ok(())
    }

    pub(super) async fn update(&self, body: &Value, changes: &[Change]) -> Result<(), CloudError> {
        let trigger = model::<Trigger>(body.clone())?;
        let request = self.client.update_trigger().set_trigger(trigger).set_update_mask(mask(changes));
        request.poller().until_done().await?;
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), CloudError> {
        self.client.delete_trigger().set_name(name).poller().until_done().await?;
        Ok(())
    }
}
