//! Topics, from creation to deletion.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;

use super::{MAX_RESOURCES, State, Topic, page};
use crate::error::already_exists;
use crate::names::{DELETED_TOPIC, Kind, check_project};
use crate::settings::complete_topic;
use crate::settings::patch::patch_topic;

impl State {
    pub(crate) fn create_topic(&mut self, topic: pb::Topic) -> Result<pb::Topic, Status> {
        let settings = complete_topic(topic)?;
        if self.topics.contains_key(&settings.name) {
            return Err(already_exists(&settings.name));
        }
        if self.topics.len() >= MAX_RESOURCES {
            return Err(Status::resource_exhausted(format!("There are {MAX_RESOURCES} topics; delete some.")));
        }
        let name = settings.name.clone();
        self.last_uid += 1;
        let topic = Topic {
            name: name.as_str().into(),
            uid: self.last_uid,
            settings: settings.clone(),
            subscriptions: Default::default(),
            snapshots: Default::default(),
            kept: Default::default(),
        };
        self.topics.insert(name, topic);
        self.record_topic(&settings.name);
        Ok(settings)
    }

    pub(crate) fn update_topic(&mut self, request: pb::UpdateTopicRequest) -> Result<pb::Topic, Status> {
        let changed = request.topic.unwrap_or_default();
        let settings =
            patch_topic(self.topic(&changed.name)?.settings.clone(), &changed, request.update_mask.as_ref())?;
        if let Some(topic) = self.topics.get_mut(&settings.name) {
            topic.settings = settings.clone();
            if settings.message_retention_duration.is_none() {
                topic.drop_kept(self.journal.as_ref());
            }
        }
        self.record_topic(&settings.name);
        Ok(settings)
    }

    pub(crate) fn get_topic(&self, name: &str) -> Result<pb::Topic, Status> {
        Kind::Topic.check(name)?;
        Ok(self.topic(name)?.settings.clone())
    }

    pub(crate) fn list_topics(&self, request: &pb::ListTopicsRequest) -> Result<pb::ListTopicsResponse, Status> {
        check_project(&request.project)?;
        let prefix = format!("{}/", request.project);
        let all = self.topics.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let all = all.map(|(name, topic)| (name.clone(), topic.settings.clone()));
        let (topics, next_page_token) = page(all, request.page_size, &request.page_token)?;
        Ok(pb::ListTopicsResponse { topics, next_page_token })
    }

    pub(crate) fn list_topic_subscriptions(
        &self,
        request: &pb::ListTopicSubscriptionsRequest,
    ) -> Result<pb::ListTopicSubscriptionsResponse, Status> {
        Kind::Topic.check(&request.topic)?;
        let all = self.topic(&request.topic)?.subscriptions.iter().map(|name| (name.clone(), name.clone()));
        let (subscriptions, next_page_token) = page(all, request.page_size, &request.page_token)?;
        Ok(pb::ListTopicSubscriptionsResponse { subscriptions, next_page_token })
    }

    /// Deletes a topic. Its subscriptions and snapshots stay, and keep their messages.
    pub(crate) fn delete_topic(&mut self, name: &str) -> Result<(), Status> {
        Kind::Topic.check(name)?;
        self.topic(name)?;
        let Some(mut topic) = self.topics.remove(name) else { return Ok(()) };
        topic.drop_kept(self.journal.as_ref());
        self.record_topic(name);
        for name in &topic.subscriptions {
            if let Some(subscription) = self.subscriptions.get_mut(name) {
                let mut settings = (*subscription.settings).clone();
                settings.topic = DELETED_TOPIC.into();
                subscription.settings = settings.into();
            }
            self.record_subscription(name);
        }
        for name in &topic.snapshots {
            if let Some(snapshot) = self.snapshots.get_mut(name) {
                snapshot.settings.topic = DELETED_TOPIC.into();
            }
            self.record_snapshot(name);
        }
        self.remove_policy(&topic.settings.name);
        Ok(())
    }
}
