//! Topics and subscriptions, and who may use them.

use futures_util::FutureExt;
use google_cloud_iam_v1::model::Policy;
use google_cloud_pubsub::client::{SchemaService, SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{Subscription, Topic};
use serde_json::Value;

use super::calls::{Call, Calls, Update};
use super::client::{build_client, collect_pages, mask, model, requested_version, value};
use super::error::CloudError;
use super::settings::Settings;
use crate::resources::{Api, Context};

/// The IAM calls of Pub/Sub, which take all of its resources. The client for schemas is the one of its crate that has
/// them.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    client: SchemaService,
}

impl Policies {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self { client: build_client!(SchemaService, settings, Api::PubSub) })
    }

    async fn read(&self, resource: &str) -> Result<Value, CloudError> {
        let request = self.client.get_iam_policy().set_resource(resource).set_options(requested_version());
        value(&request.send().await?)
    }

    async fn write(&self, resource: &str, policy: Value) -> Result<(), CloudError> {
        self.client.set_iam_policy().set_resource(resource).set_policy(model::<Policy>(policy)?).send().await?;
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Topics {
    client: TopicAdmin,
    policies: Policies,
}

impl Topics {
    pub(super) async fn new(settings: &Settings, policies: Policies) -> Result<Self, CloudError> {
        Ok(Self { client: build_client!(TopicAdmin, settings, Api::PubSub), policies })
    }
}

impl Calls for Topics {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        async move { value(&self.client.get_topic().set_topic(name).send().await?) }.boxed()
    }

    fn list<'a>(&'a self, at: &'a Context) -> Call<'a, Vec<Value>> {
        let request = self.client.list_topics().set_project(at.parent());
        async move { collect_pages!(request.by_item(), value) }.boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, name: &'a str, body: Value) -> Call<'a, ()> {
        async move {
            let topic = model::<Topic>(body)?.set_name(name);
            self.client.create_topic().with_request(topic).send().await?;
            Ok(())
        }
        .boxed()
    }

    fn update<'a>(&'a self, _: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        async move {
            let request = self.client.update_topic().set_topic(model::<Topic>(update.body)?);
            request.set_update_mask(mask(update.changes)).send().await?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        async move { Ok(self.client.delete_topic().set_topic(name).send().await?) }.boxed()
    }

    fn read_policy<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        self.policies.read(name).boxed()
    }

    fn write_policy<'a>(&'a self, _: &'a Context, name: &'a str, policy: Value) -> Call<'a, ()> {
        self.policies.write(name, policy).boxed()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Subscriptions {
    client: SubscriptionAdmin,
    policies: Policies,
}

impl Subscriptions {
    pub(super) async fn new(settings: &Settings, policies: Policies) -> Result<Self, CloudError> {
        Ok(Self { client: build_client!(SubscriptionAdmin, settings, Api::PubSub), policies })
    }
}

impl Calls for Subscriptions {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        async move { value(&self.client.get_subscription().set_subscription(name).send().await?) }.boxed()
    }

    fn list<'a>(&'a self, at: &'a Context) -> Call<'a, Vec<Value>> {
        let request = self.client.list_subscriptions().set_project(at.parent());
        async move { collect_pages!(request.by_item(), value) }.boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, name: &'a str, body: Value) -> Call<'a, ()> {
        async move {
            let subscription = model::<Subscription>(body)?.set_name(name);
            self.client.create_subscription().with_request(subscription).send().await?;
            Ok(())
        }
        .boxed()
    }

    fn update<'a>(&'a self, _: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        async move {
            let request = self.client.update_subscription().set_subscription(model::<Subscription>(update.body)?);
            request.set_update_mask(mask(update.changes)).send().await?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        async move { Ok(self.client.delete_subscription().set_subscription(name).send().await?) }.boxed()
    }

    fn read_policy<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        self.policies.read(name).boxed()
    }

    fn write_policy<'a>(&'a self, _: &'a Context, name: &'a str, policy: Value) -> Call<'a, ()> {
        self.policies.write(name, policy).boxed()
    }
}
