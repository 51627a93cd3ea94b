//! What Pub/Sub takes in one message: its bounds, in bytes unless it says otherwise, and the names that it keeps for
//! itself. <https://cloud.google.com/pubsub/quotas#resource_limits>,
//! <https://cloud.google.com/pubsub/docs/publisher#using-attributes>.

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

/// What the names of attributes begin with that Pub/Sub keeps for itself. The service compares case.
pub const RESERVED_PREFIX: &str = "goog";
/// Reserved names that a publisher may use all the same: the official clients carry their traces in them.
pub const TRACE_ATTRIBUTES: [&str; 2] = ["googclient_traceparent", "googclient_tracestate"];

/// Whether Pub/Sub refuses a message with an attribute of this name because it keeps the name for itself.
///
/// It delivers such attributes, as those of a topic with a schema (`googclient_schemaname`, …), so code that copies
/// attributes from one message to another has to leave them out.
///
/// ```
/// use infra::limits::is_reserved;
/// assert!(is_reserved("googclient_schemaname") && !is_reserved("googclient_traceparent"));
/// ```
pub fn is_reserved(name: &str) -> bool {
    name.starts_with(RESERVED_PREFIX) && !TRACE_ATTRIBUTES.contains(&name)
}

/// Whether a publisher may give a message this attribute: its name is not reserved, and both are within their bounds.
pub fn is_attribute(name: &str, value: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && value.len() <= MAX_VALUE && !is_reserved(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_are_google_s_but_for_the_trace() {
        for name in ["goog", "google", "googclient_schemaencoding", "googclient_trace", "googclient_traceparent2"] {
            assert!(is_reserved(name) && !is_attribute(name, "v"), "{name}");
        }
        for name in ["googclient_traceparent", "googclient_tracestate", "go", "agoog", "Google-Id", "x-goog-a"] {
            assert!(!is_reserved(name) && is_attribute(name, "v"), "{name}");
        }
    }

    #[test]
    fn bounds_are_in_bytes() {
        assert!(is_attribute(&"n".repeat(256), &"é".repeat(512)));
        assert!(
            !is_attribute("", "v") && !is_attribute(&"é".repeat(129), "v") && !is_attribute("n", &"v".repeat(1025))
        );
    }
}
