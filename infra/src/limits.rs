//! Pub/Sub's limits of one message, in bytes unless a constant says otherwise, and the names of attributes that it
//! reserves. <https://cloud.google.com/pubsub/quotas#resource_limits>,
//! <https://cloud.google.com/pubsub/docs/publisher#using-attributes>.

/// Maximum length of the data.
pub const MAX_DATA: usize = 10_000_000;
/// Maximum number of attributes.
pub const MAX_ATTRIBUTES: usize = 100;
/// Maximum length of an attribute's name.
pub const MAX_NAME: usize = 256;
/// Maximum length of an attribute's value.
pub const MAX_VALUE: usize = 1024;
/// Maximum length of an ordering key.
pub const MAX_ORDERING_KEY: usize = 1024;

/// The prefix of the names of attributes that Pub/Sub reserves. The service compares case.
pub const RESERVED_PREFIX: &str = "goog";
/// Reserved names that a publisher may use all the same: the official clients send their trace contexts in them.
pub const TRACE_ATTRIBUTES: [&str; 2] = ["googclient_traceparent", "googclient_tracestate"];

/// Whether Pub/Sub refuses a message with an attribute of this name, because the name is reserved.
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

/// Whether a publisher may give a message this attribute: its name is not reserved, and both are within their limits.
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
