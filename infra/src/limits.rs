//! Pub/Sub's bounds of one message, in bytes unless it says otherwise: <https://cloud.google.com/pubsub/quotas#resource_limits>.

/// The most data.
pub const MAX_DATA: usize = 10_000_000;
/// The most attributes: a count.
pub const MAX_ATTRIBUTES: usize = 100;
/// The longest name of an attribute.
pub const MAX_NAME: usize = 256;
/// The longest value of an attribute.
pub const MAX_VALUE: usize = 1024;
/// The longest ordering key.
pub const MAX_ORDERING_KEY: usize = 1024;
