//! Snapshots, from creation to deletion or expiry. A snapshot holds the messages that its subscription had not
//! acknowledged, and every later one of the topic.

use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;

use super::{MAX_RESOURCES, Snapshot, State, page};
use crate::error::{already_exists, not_found};
use crate::journal::{Hold, Journal};
use crate::message::Message;
use crate::names::{Kind, check_project, project};
use crate::settings::complete_snapshot;
use crate::settings::patch::patch_snapshot;
use crate::time::Time;

/// How long a snapshot lasts, counted from the publishing of its oldest message.
const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// A snapshot that would last for less is refused.
const MIN_LIFETIME: Duration = Duration::from_secs(60 * 60);

impl State {
    /// Creates a snapshot of a subscription; invents a name if it has none.
    ///
    /// # Errors
    /// NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT; FAILED_PRECONDITION when it would not last for an hour.
    pub(crate) fn create_snapshot(
        &mut self,
        now: Time,
        request: pb::CreateSnapshotRequest,
    ) -> Result<pb::Snapshot, Status> {
        let pb::CreateSnapshotRequest { name, subscription, labels, .. } = request;
        Kind::Subscription.check(&subscription)?;
        let uid = self.last_uid + 1;
        let name = if name.is_empty() { self.free_snapshot_name(project(&subscription), uid) } else { name };
        let mut settings = complete_snapshot(pb::Snapshot { name, labels, ..pb::Snapshot::default() })?;
        let subscription = self.subscription(&subscription)?;
        if self.snapshots.contains_key(&settings.name) {
            return Err(already_exists(&settings.name));
        }
        if self.snapshots.len() >= MAX_RESOURCES {
            return Err(Status::resource_exhausted(format!("There are {MAX_RESOURCES} snapshots; delete some.")));
        }
        if subscription.settings.detached {
            return Err(Status::failed_precondition("The subscription is detached from its topic."));
        }
        let held: Vec<Arc<Message>> = subscription.queue.unacked().cloned().collect();
        let age = held.first().map_or(Duration::ZERO, |oldest| now.since(oldest.publish_time));
        let lifetime = MAX_LIFETIME.saturating_sub(age);
        if lifetime < MIN_LIFETIME {
            return Err(Status::failed_precondition(format!(
                "The backlog of the subscription is too old: its oldest unacknowledged message was published {} s ago, \
                 and a snapshot expires 7 days after that, which has to be at least an hour from now. Acknowledge old \
                 messages, or seek past them.",
                age.as_secs()
            )));
        }
        settings.topic.clone_from(&subscription.settings.topic);
        settings.expire_time = Some(now.after(lifetime).to_proto());
        for message in &held {
            record_held(self.journal.as_ref(), uid, message, Some(Hold::Retained));
        }
        self.last_uid = uid;
        self.add_snapshot(Snapshot { uid, settings: settings.clone(), last_number: self.last_number, held });
        self.record_snapshot(&settings.name);
        self.arm_at(now.after(lifetime));
        Ok(settings)
    }

    /// Adds a snapshot, and has its topic hand later messages to it.
    pub(super) fn add_snapshot(&mut self, snapshot: Snapshot) {
        if let Some(topic) = self.topics.get_mut(&snapshot.settings.topic) {
            topic.snapshots.insert(snapshot.settings.name.clone());
        }
        self.snapshots.insert(snapshot.settings.name.clone(), snapshot);
    }

    pub(crate) fn update_snapshot(&mut self, request: pb::UpdateSnapshotRequest) -> Result<pb::Snapshot, Status> {
        let changed = request.snapshot.unwrap_or_default();
        let current = self.snapshot(&changed.name)?.settings.clone();
        let settings = patch_snapshot(current, &changed, request.update_mask.as_ref())?;
        if let Some(snapshot) = self.snapshots.get_mut(&settings.name) {
            snapshot.settings = settings.clone();
        }
        self.record_snapshot(&settings.name);
        Ok(settings)
    }

    pub(crate) fn get_snapshot(&self, name: &str) -> Result<pb::Snapshot, Status> {
        Kind::Snapshot.check(name)?;
        Ok(self.snapshot(name)?.settings.clone())
    }

    pub(crate) fn list_snapshots(
        &self,
        request: &pb::ListSnapshotsRequest,
    ) -> Result<pb::ListSnapshotsResponse, Status> {
        check_project(&request.project)?;
        let prefix = format!("{}/", request.project);
        let all = self.snapshots.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        let all = all.map(|(name, snapshot)| (name.clone(), snapshot.settings.clone()));
        let (snapshots, next_page_token) = page(all, request.page_size, &request.page_token)?;
        Ok(pb::ListSnapshotsResponse { snapshots, next_page_token })
    }

    pub(crate) fn list_topic_snapshots(
        &self,
        request: &pb::ListTopicSnapshotsRequest,
    ) -> Result<pb::ListTopicSnapshotsResponse, Status> {
        Kind::Topic.check(&request.topic)?;
        let all = self.topic(&request.topic)?.snapshots.iter().map(|name| (name.clone(), name.clone()));
        let (snapshots, next_page_token) = page(all, request.page_size, &request.page_token)?;
        Ok(pb::ListTopicSnapshotsResponse { snapshots, next_page_token })
    }

    pub(crate) fn delete_snapshot(&mut self, name: &str) -> Result<(), Status> {
        Kind::Snapshot.check(name)?;
        self.snapshot(name)?;
        self.remove_snapshot(name);
        Ok(())
    }

    /// Removes snapshots that have expired; returns when the next one does.
    pub(super) fn expire_snapshots(&mut self, now: Time) -> Time {
        let expired = self.snapshots.iter().filter(|(_, snapshot)| snapshot.expires() <= now);
        let expired: Vec<String> = expired.map(|(name, _)| name.clone()).collect();
        for name in expired {
            self.remove_snapshot(&name);
        }
        self.snapshots.values().map(Snapshot::expires).min().unwrap_or(Time::NEVER)
    }

    pub(super) fn snapshot(&self, name: &str) -> Result<&Snapshot, Status> {
        self.snapshots.get(name).ok_or_else(|| not_found(name))
    }

    fn remove_snapshot(&mut self, name: &str) {
        let Some(snapshot) = self.snapshots.remove(name) else { return };
        for message in &snapshot.held {
            record_held(self.journal.as_ref(), snapshot.uid, message, None);
        }
        if let Some(topic) = self.topics.get_mut(&snapshot.settings.topic) {
            topic.snapshots.remove(name);
        }
        self.remove_policy(name);
        self.record_snapshot(name);
    }

    fn free_snapshot_name(&self, project: &str, uid: u64) -> String {
        let name = |number: u64| format!("projects/{project}/snapshots/snapshot-{number}");
        (uid..).map(name).find(|name| !self.snapshots.contains_key(name)).unwrap_or_default()
    }
}

impl Snapshot {
    /// Keeps a message that was published after the snapshot was made.
    pub(super) fn hold(&mut self, message: &Arc<Message>, journal: Option<&Arc<Journal>>) {
        self.held.push(Arc::clone(message));
        record_held(journal, self.uid, message, Some(Hold::Retained));
    }

    /// Whether a seek to this snapshot makes a message of its topic unacknowledged.
    pub(super) fn is_unacked(&self, message: &Message) -> bool {
        message.number > self.last_number || self.held.binary_search_by_key(&message.number, |held| held.number).is_ok()
    }

    fn expires(&self) -> Time {
        self.settings.expire_time.as_ref().map_or(Time::NEVER, Time::from_proto)
    }
}

fn record_held(journal: Option<&Arc<Journal>>, uid: u64, message: &Message, hold: Option<Hold>) {
    if let Some(journal) = journal {
        journal.hold(message.number, uid, hold);
    }
}
