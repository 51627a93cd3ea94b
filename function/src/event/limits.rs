//! Bounds of what one request may hold.

use infra::limits;

/// The most events in one batch.
pub const MAX_EVENTS: usize = 1000;
/// The most attributes of one message: Pub/Sub's own limit.
pub const MAX_ATTRIBUTES: usize = limits::MAX_ATTRIBUTES;
/// The longest attribute key, in bytes: Pub/Sub's own limit.
pub const MAX_KEY: usize = limits::MAX_NAME;
/// The longest attribute value, in bytes: Pub/Sub's own limit. It also bounds ids, sources, types, times, subscriptions
/// and ordering keys, since all of them are passed on as attributes or have the same limit there.
pub const MAX_VALUE: usize = limits::MAX_VALUE;
