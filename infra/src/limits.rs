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

/// The beginning of the names that are reserved for Pub/Sub itself.
const RESERVED_PREFIX: &str = "goog";
/// Reserved names that a publisher may set: the official clients send their trace context in them.
const TRACE_ATTRIBUTES: [&str; 2] = ["googclient_traceparent", "googclient_tracestate"];

/// Whether Pub/Sub refuses to publish an attribute of this name.
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX) && !TRACE_ATTRIBUTES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_all_that_begin_with_goog_but_the_clients_trace_context() {
        for name in ["goog", "google", "googclient_schemaname", "googclient_traceparent_", "googclient_"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["googclient_traceparent", "googclient_tracestate", "Goog", "x-goog-a", "goo", ""] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
