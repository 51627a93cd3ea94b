//! Messages, and how much memory they take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;

use super::time::Time;

/// A published message; shared by all subscriptions that hold it.
#[derive(Debug)]
pub struct Message {
    /// Later messages have higher numbers, also those of a local Pub/Sub that is started later. In decimal it is the
    /// message id.
    pub number: u64,
    /// The data; may be empty.
    pub data: Bytes,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The ordering key; empty if there is none.
    pub ordering_key: String,
    /// When the topic took the message, in whole milliseconds.
    pub publish_time: Time,
    /// The message's share of the limit of memory, released with the last reference to the message.
    pub(super) _charge: Charge,
}

impl Message {
    /// The message id: the number in decimal.
    pub fn id(&self) -> String {
        self.number.to_string()
    }

    /// Bytes of the data, the attributes and the ordering key.
    pub fn size(&self) -> usize {
        size_of(&self.data, &self.attributes, &self.ordering_key)
    }

    pub(super) fn to_proto(&self) -> pb::PubsubMessage {
        pb::PubsubMessage {
            data: self.data.clone(),
            attributes: self.attributes.clone(),
            message_id: self.id(),
            publish_time: Some(self.publish_time.to_proto()),
            ordering_key: self.ordering_key.clone(),
        }
    }
}

/// Bytes of a message's content.
pub(super) fn size_of(data: &Bytes, attributes: &BTreeMap<String, String>, ordering_key: &str) -> usize {
    let attributes: usize = attributes.iter().map(|(key, value)| key.len() + value.len()).sum();
    data.len() + attributes + ordering_key.len()
}

/// What a local Pub/Sub holds at this moment.
#[derive(Debug, Default)]
pub(super) struct Usage {
    bytes: AtomicUsize,
    deliveries: AtomicUsize,
}

impl Usage {
    /// Bytes of messages, with an estimate of the bookkeeping.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Messages waiting in subscriptions, one for each subscription.
    pub(super) fn deliveries(&self) -> usize {
        self.deliveries.load(Ordering::Relaxed)
    }

    /// Charges for a message of this many bytes.
    pub(super) fn message(self: &Arc<Self>, size: usize) -> Charge {
        const OVERHEAD_BYTES: usize = 256;
        self.charge(size + OVERHEAD_BYTES, 0)
    }

    /// Charges for one message in one subscription.
    pub(super) fn delivery(self: &Arc<Self>) -> Charge {
        const OVERHEAD_BYTES: usize = 256;
        self.charge(OVERHEAD_BYTES, 1)
    }

    fn charge(self: &Arc<Self>, bytes: usize, deliveries: usize) -> Charge {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.deliveries.fetch_add(deliveries, Ordering::Relaxed);
        Charge { usage: Arc::clone(self), bytes, deliveries }
    }
}

/// Memory that counts as used until this is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    usage: Arc<Usage>,
    bytes: usize,
    deliveries: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.usage.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.usage.deliveries.fetch_sub(self.deliveries, Ordering::Relaxed);
    }
}
