//! Seeks: set at once which of a subscription's messages are acknowledged.

use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::seek_request::Target;
use tonic::Status;

use super::State;
use crate::error::{invalid, not_found};
use crate::names::Kind;
use crate::time::Time;

impl State {
    /// Marks messages from before a time, or those that a snapshot has as acknowledged, as acknowledged; and all others
    /// that were kept as unacknowledged.
    ///
    /// # Errors
    /// NOT_FOUND, INVALID_ARGUMENT; FAILED_PRECONDITION for a snapshot of another topic.
    pub(crate) fn seek(&mut self, request: &pb::SeekRequest) -> Result<(), Status> {
        let name = &request.subscription;
        Kind::Subscription.check(name)?;
        self.subscription(name)?;
        match &request.target {
            Some(Target::Time(time)) => self.seek_to_time(name, Time::from_proto(time))?,
            Some(Target::Snapshot(snapshot)) => self.seek_to_snapshot(name, snapshot)?,
            None => return Err(invalid("A seek needs a target: a time or a snapshot.")),
        }
        self.subscription(name)?.wake.notify_waiters();
        self.arm(name);
        Ok(())
    }

    fn seek_to_time(&mut self, name: &str, time: Time) -> Result<(), Status> {
        let subscription = self.subscriptions.get_mut(name).ok_or_else(|| not_found(name))?;
        subscription.queue.seek(|message| message.publish_time >= time);
        if let Some(topic) = self.topics.get(&subscription.settings.topic) {
            for message in topic.kept.iter().filter(|message| message.publish_time >= time) {
                if subscription.passes(message) {
                    subscription.queue.push(Arc::clone(message));
                }
            }
        }
        Ok(())
    }

    fn seek_to_snapshot(&mut self, name: &str, snapshot: &str) -> Result<(), Status> {
        Kind::Snapshot.check(snapshot)?;
        let snapshot = self.snapshots.get(snapshot).ok_or_else(|| not_found(snapshot))?;
        let subscription = self.subscriptions.get_mut(name).ok_or_else(|| not_found(name))?;
        let (own, other) = (&subscription.settings.topic, &snapshot.settings.topic);
        if own != other {
            return Err(Status::failed_precondition(format!(
                "The subscription's topic {own} is different from that of the snapshot {other}; they must match in \
                 order for Seek to work. Note that if a topic is deleted and then re-created with the same name, it is \
                 considered a distinct topic for these purposes."
            )));
        }
        subscription.queue.seek(|message| snapshot.is_unacked(message));
        for message in &snapshot.held {
            if subscription.passes(message) {
                subscription.queue.push(Arc::clone(message));
            }
        }
        Ok(())
    }
}
