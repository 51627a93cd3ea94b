//! Eventarc triggers, and the subscriptions that Eventarc creates for them.

use futures_util::FutureExt;
use google_cloud_eventarc_v1::client::Eventarc;
use google_cloud_eventarc_v1::model::Trigger;
use google_cloud_lro::Poller;
use serde_json::Value;

use super::calls::{Call, Calls, Update};
use super::client::{build_client, collect_pages, mask, model, split, value};
use super::error::{CloudError, Fault};
use super::pubsub::Subscriptions;
use super::settings::Settings;
use crate::plan::{Home, canonical};
use crate::resources::{Api, Context};

#[derive(Clone, Debug)]
pub(super) struct Triggers {
    client: Eventarc,
}

impl Triggers {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self { client: build_client!(Eventarc, settings, Api::Eventarc) })
    }
}

impl Calls for Triggers {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        async move { value(&self.client.get_trigger().set_name(name).send().await?) }.boxed()
    }

    fn list<'a>(&'a self, at: &'a Context) -> Call<'a, Vec<Value>> {
        let request = self.client.list_triggers().set_parent(at.regional_parent());
        async move { collect_pages!(request.by_item(), value) }.boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, name: &'a str, body: Value) -> Call<'a, ()> {
        async move {
            let (parent, id) = split(name, "/triggers/", "trigger")?;
            let trigger = model::<Trigger>(body)?.set_name(name);
            let request = self.client.create_trigger().set_parent(parent).set_trigger_id(id).set_trigger(trigger);
            request.poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }

    fn update<'a>(&'a self, _: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        async move {
            let request = self.client.update_trigger().set_trigger(model::<Trigger>(update.body)?);
            request.set_update_mask(mask(update.changes)).poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        async move {
            self.client.delete_trigger().set_name(name).poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }
}

/// The subscriptions of triggers, each under its trigger's name.
#[derive(Debug)]
pub(super) struct TriggerSubscriptions {
    pub(super) triggers: Triggers,
    pub(super) subscriptions: Subscriptions,
}

impl TriggerSubscriptions {
    /// The name of the subscription that Eventarc created for a trigger.
    async fn subscription(&self, at: &Context, trigger: &str) -> Result<String, CloudError> {
        let found = canonical(&self.triggers.read(at, trigger).await?, Home::of(at));
        match found["transport"]["pubsub"]["subscription"].as_str().filter(|name| !name.is_empty()) {
            Some(subscription) => Ok(subscription.to_owned()),
            None => Err(CloudError::new(Fault::Missing, "Eventarc has not made the trigger's subscription yet")),
        }
    }
}

/// Creating and deleting them is Eventarc's.
impl Calls for TriggerSubscriptions {
    fn read<'a>(&'a self, at: &'a Context, trigger: &'a str) -> Call<'a, Value> {
        async move {
            let name = self.subscription(at, trigger).await?;
            self.subscriptions.read(at, &name).await
        }
        .boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, _: &'a str, _: Value) -> Call<'a, ()> {
        super::calls::nothing()
    }

    fn update<'a>(&'a self, at: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        self.subscriptions.update(at, update)
    }

    fn read_policy<'a>(&'a self, at: &'a Context, trigger: &'a str) -> Call<'a, Value> {
        async move {
            let name = self.subscription(at, trigger).await?;
            self.subscriptions.read_policy(at, &name).await
        }
        .boxed()
    }

    fn write_policy<'a>(&'a self, at: &'a Context, trigger: &'a str, policy: Value) -> Call<'a, ()> {
        async move {
            let name = self.subscription(at, trigger).await?;
            self.subscriptions.write_policy(at, &name, policy).await
        }
        .boxed()
    }
}
