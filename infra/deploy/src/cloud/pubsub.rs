//! Topics and subscriptions, and who may use them.

use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_v1::model::Policy;
use google_cloud_pubsub::client::{SchemaService, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{Subscription, Topic};
use serde_json::Value;

use super::error::CloudError;
use super::google::{all, install, mask, model, requested_version, value};
use super::settings::{Api, Settings};
use crate::plan::Change;

#[derive(Debug)]
pub(super) struct PubSub {
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    /// The one client of the crate that has the IAM calls; they take every resource of Pub/Sub.
    policies: SchemaService,
}

impl PubSub {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self {
            topics: install!(TopicAdmin, settings, Api::PubSub),
            subscriptions: install!(SubscriptionAdmin, settings, Api::PubSub),
            policies: install!(SchemaService, settings, Api::PubSub),
        })
    }

    pub(super) async fn read_topic(&self, name: &str) -> Result<Value, CloudError> {
        value(&self.topics.get_topic().set_topic(name).send().await?)
    }

    pub(super) async fn list_topics(&self, project: &str) -> Result<Vec<Value>, CloudError> {
        all!(self.topics.list_topics().set_project(project).by_item(), value)
    }

    pub(super) async fn create_topic(&self, name: &str, body: &Value) -> Result<(), CloudError> {
        let topic = model::<Topic>(body.clone())?.set_name(name);
        self.topics.create_topic().with_request(topic).send().await?;
        Ok(())
    }

    /// `body` is what was found, its name included, with the changes in it.
    pub(super) async fn update_topic(&self, body: &Value, changes: &[Change]) -> Result<(), CloudError> {
        let topic: Topic = model(body.clone())?;
        self.topics.update_topic().set_topic(topic).set_update_mask(mask(changes)).send().await?;
        Ok(())
    }

    pub(super) async fn delete_topic(&self, name: &str) -> Result<(), CloudError> {
        Ok(self.topics.delete_topic().set_topic(name).send().await?)
    }

    pub(super) async fn read_subscription(&self, name: &str) -> Result<Value, CloudError> {
        value(&self.subscriptions.get_subscription().set_subscription(name).send().await?)
    }

    pub(super) async fn list_subscriptions(&self, project: &str) -> Result<Vec<Value>, CloudError> {
        all!(self.subscriptions.list_subscriptions().set_project(project).by_item(), value)
    }

    pub(super) async fn create_subscription(&self, name: &str, body: &Value) -> Result<(), CloudError> {
        let subscription = model::<Subscription>(body.clone())?.set_name(name);
        self.subscriptions.create_subscription().with_request(subscription).send().await?;
        Ok(())
    }

    /// `body` is what was found, its name included, with the changes in it.
    pub(super) async fn update_subscription(&self, body: &Value, changes: &[Change]) -> Result<(), CloudError> {
        let subscription: Subscription = model(body.clone())?;
        let request = self.subscriptions.update_subscription().set_subscription(subscription);
        request.set_update_mask(mask(changes)).send().await?;
        Ok(())
    }

    pub(super) async fn delete_subscription(&self, name: &str) -> Result<(), CloudError> {
        Ok(self.subscriptions.delete_subscription().set_subscription(name).send().await?)
    }

    pub(super) async fn read_policy(&self, resource: &str) -> Result<Value, CloudError> {
        let request = self.policies.get_iam_policy().set_resource(resource).set_options(requested_version());
        value(&request.send().await?)
    }

    pub(super) async fn write_policy(&self, resource: &str, body: Value) -> Result<(), CloudError> {
        self.policies.set_iam_policy().set_resource(resource).set_policy(model::<Policy>(body)?).send().await?;
        Ok(())
    }
}
