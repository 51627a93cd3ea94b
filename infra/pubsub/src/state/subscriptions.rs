//! Subscriptions, from creation to deletion.

use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tokio::sync::Notify;
use tonic::Status;

use super::{MAX_RESOURCES, State, Subscription, page};
use crate::error::{already_exists, invalid};
use crate::names::{Kind, check_project};
use crate::queue::Queue;
use crate::settings::patch::patch_subscription;
use crate::settings::{complete_subscription, is_push, parse_filter, queue_config};

impl State {
    pub(crate) fn create_subscription(&mut self, subscription: pb::Subscription) -> Result<pb::Subscription, Status> {
        let mut settings = complete_subscription(subscription)?;
        settings.detached = false;
        Kind::Topic.check(&settings.topic)?;
        let retention = self.topic(&settings.topic)?.settings.message_retention_duration;
        self.check_dead_letter_topic(&settings)?;
        if self.subscriptions.contains_key(&settings.name) {
            return Err(already_exists(&settings.name));
        }
        if self.subscriptions.len() >= MAX_RESOURCES {
            return Err(Status::resource_exhausted(format!("There are {MAX_RESOURCES} subscriptions; delete some.")));
        }
        let filter = parse_filter(&settings.filter)?;
        let name = settings.name.clone();
        self.last_uid += 1;
        if let Some(topic) = self.topics.get_mut(&settings.topic) {
            topic.subscriptions.insert(name.clone());
        }
        let mut queue = Queue::new(queue_config(&settings), Arc::clone(&self.usage));
        if let Some(recorder) = self.hold_recorder(self.last_uid) {
            queue.record_into(recorder);
        }
        let subscription = Subscription {
            name: name.as_str().into(),
            uid: self.last_uid,
            filter,
            queue,
            settings: Arc::new(settings.clone()),
            eventarc: false,
            pushing: false,
            backoff_skipped: false,
            wake: Arc::new(Notify::new()),
        };
        self.subscriptions.insert(name, subscription);
        self.record_subscription(&settings.name);
        settings.topic_message_retention_duration = retention;
        Ok(settings)
    }

    pub(crate) fn update_subscription(
        &mut self,
        request: pb::UpdateSubscriptionRequest,
    ) -> Result<pb::Subscription, Status> {
        let changed = request.subscription.unwrap_or_default();
        let name = changed.name.clone();
        let current = (*self.subscription(&name)?.settings).clone();
        let settings = patch_subscription(current, &changed, request.update_mask.as_ref())?;
        self.check_dead_letter_topic(&settings)?;
        self.set(&name, settings);
        self.get_subscription(&name)
    }

    pub(crate) fn modify_push_config(&mut self, request: pb::ModifyPushConfigRequest) -> Result<(), Status> {
        let mut settings = (*self.subscription(&request.subscription)?.settings).clone();
        settings.push_config = Some(request.push_config.unwrap_or_default());
        self.set(&request.subscription, complete_subscription(settings)?);
        Ok(())
    }

    /// Takes the endpoint from a subscription, if it exists.
    pub(crate) fn stop_pushing(&mut self, name: &str) {
        let Some(subscription) = self.subscriptions.get(name) else { return };
        let mut settings = (*subscription.settings).clone();
        settings.push_config = Some(pb::PushConfig::default());
        self.set(name, settings);
    }

    /// Detaches a subscription from its topic: it drops its messages and gets no more.
    pub(crate) fn detach_subscription(&mut self, name: &str) -> Result<(), Status> {
        Kind::Subscription.check(name)?;
        let mut settings = (*self.subscription(name)?.settings).clone();
        if let Some(topic) = self.topics.get_mut(&settings.topic) {
            topic.subscriptions.remove(name);
        }
        settings.detached = true;
        let usage = Arc::clone(&self.usage);
        let recorder = self.hold_recorder(self.subscription(name)?.uid);
        let subscription = self.subscription_mut(name)?;
        subscription.queue.record_removal();
        subscription.queue = Queue::new(queue_config(&settings), usage);
        if let Some(recorder) = recorder {
            subscription.queue.record_into(recorder);
        }
        subscription.settings = settings.into();
        subscription.wake.notify_waiters();
        self.record_subscription(name);
        Ok(())
    }

    pub(crate) fn get_subscription(&self, name: &str) -> Result<pb::Subscription, Status> {
        Kind::Subscription.check(name)?;
        Ok(self.described(self.subscription(name)?))
    }

    pub(crate) fn list_subscriptions(
        &self,
        request: &pb::ListSubscriptionsRequest,
    ) -> Result<pb::ListSubscriptionsResponse, Status> {
        check_project(&request.project)?;
        let prefix = format!("{}/", request.project);
        let all = self.subscriptions.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let all = all.map(|(name, subscription)| (name.clone(), self.described(subscription)));
        let (subscriptions, next_page_token) = page(all, request.page_size, &request.page_token)?;
        Ok(pb::ListSubscriptionsResponse { subscriptions, next_page_token })
    }

    pub(crate) fn delete_subscription(&mut self, name: &str) -> Result<(), Status> {
        Kind::Subscription.check(name)?;
        self.subscription(name)?;
        let Some(subscription) = self.subscriptions.remove(name) else { return Ok(()) };
        subscription.queue.record_removal();
        self.record_subscription(name);
        if let Some(topic) = self.topics.get_mut(&subscription.settings.topic) {
            topic.subscriptions.remove(name);
        }
        subscription.wake.notify_waiters();
        self.remove_policy(name);
        Ok(())
    }

    /// Says whether the pushes of a subscription have the form of an Eventarc trigger.
    pub(crate) fn set_eventarc(&mut self, name: &str, eventarc: bool) -> Result<(), Status> {
        self.subscription_mut(name)?.eventarc = eventarc;
        self.record_subscription(name);
        Ok(())
    }

    /// Marks a push subscription as served by a pushing task, and returns its uid; `None` if it has no endpoint or is
    /// served already.
    pub(crate) fn begin_pushing(&mut self, name: &str) -> Option<u64> {
        let subscription = self.subscriptions.get_mut(name)?;
        let begins = is_push(&subscription.settings) && !subscription.settings.detached && !subscription.pushing;
        subscription.pushing |= begins;
        begins.then_some(subscription.uid)
    }

    fn set(&mut self, name: &str, settings: pb::Subscription) {
        let Some(subscription) = self.subscriptions.get_mut(name) else { return };
        // Failures of one endpoint are no reason to wait before the first push to another.
        subscription.backoff_skipped |= endpoint(&subscription.settings) != endpoint(&settings);
        subscription.queue.set_config(queue_config(&settings));
        subscription.settings = settings.into();
        subscription.wake.notify_waiters();
        self.record_subscription(name);
        self.arm(name);
    }

    /// The settings, with those that come from the topic.
    fn described(&self, subscription: &Subscription) -> pb::Subscription {
        let mut settings = (*subscription.settings).clone();
        let topic = self.topics.get(&settings.topic);
        settings.topic_message_retention_duration = topic.and_then(|topic| topic.settings.message_retention_duration);
        settings
    }

    fn check_dead_letter_topic(&self, settings: &pb::Subscription) -> Result<(), Status> {
        let Some(policy) = &settings.dead_letter_policy else { return Ok(()) };
        if policy.dead_letter_topic == settings.topic {
            return Err(invalid(format!(
                "Invalid dead letter topic given (topic={}): it is the subscription's own topic.",
                settings.topic
            )));
        }
        self.topic(&policy.dead_letter_topic).map(drop)
    }
}

fn endpoint(settings: &pb::Subscription) -> Option<&str> {
    settings.push_config.as_ref().map(|push| push.push_endpoint.as_str())
}
