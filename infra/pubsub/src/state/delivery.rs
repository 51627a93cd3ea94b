//! What passes between the state and its subscribers.

use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;

use super::ack_id::AckId;
use crate::event::NackReason;
use crate::queue::Delivery;

/// Messages for a subscriber, and the settings that they are sent under.
#[derive(Debug)]
pub(crate) struct PulledMessages {
    pub(crate) deliveries: Vec<(AckId, Delivery)>,
    pub(crate) settings: Arc<pb::Subscription>,
    /// Pushes have the form of an Eventarc trigger.
    pub(crate) eventarc: bool,
    /// Whether a pause of pushes ends before its time.
    pub(crate) backoff_skipped: bool,
}

impl PulledMessages {
    /// In the form of the API. Like the service, it tells the attempt only where there is a dead-letter policy.
    pub(crate) fn received(&self) -> Vec<pb::ReceivedMessage> {
        let counts = self.settings.dead_letter_policy.is_some();
        let received = self.deliveries.iter().map(|(id, delivery)| pb::ReceivedMessage {
            ack_id: id.to_string(),
            message: Some(delivery.message.to_proto()),
            delivery_attempt: if counts { i32::try_from(delivery.attempt).unwrap_or(i32::MAX) } else { 0 },
        });
        received.collect()
    }
}

/// Acknowledgement ids of one request: those that took effect, and those of deliveries that were over.
#[derive(Debug, Default)]
pub(crate) struct AckOutcome {
    pub(crate) accepted: Vec<String>,
    pub(crate) stale: Vec<String>,
}

/// How a push endpoint answered a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PushOutcome {
    Ack,
    Nack(NackReason),
}
