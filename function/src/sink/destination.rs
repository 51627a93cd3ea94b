//! One entry of the setting `RESULTS`.

use std::fmt;
use std::str::FromStr;

use crate::resource_names::{check_bucket, check_topic};

/// Where results go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// The body of the response: `response`.
    Response,
    /// One line a result on standard output: `stdout`.
    Stdout,
    /// A Pub/Sub topic by its full name: `projects/P/topics/T`.
    Topic(String),
    /// Objects in a bucket: `gs://BUCKET/PREFIX/`.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What object names begin with: empty, or ending in `/`.
        prefix: String,
    },
}

/// A text that is not a destination: what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not a destination for results: {why}")]
pub struct DestinationError {
    value: String,
    why: String,
}

impl DestinationError {
    pub(crate) fn new(value: &str, why: String) -> Self {
        Self { value: value.to_owned(), why }
    }
}

/// The longest prefix, in bytes: task and key have to fit into an object name of 1024 bytes too.
const MAX_PREFIX_BYTES: usize = 384;

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let refuse = |why| DestinationError::new(text, why);
        match text {
            "response" => return Ok(Self::Response),
            "stdout" => return Ok(Self::Stdout),
            _ => {}
        }
        if let Some(rest) = text.strip_prefix("gs://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            check_bucket(bucket).map_err(|error| refuse(error.to_string()))?;
            if prefix.chars().any(char::is_control) || prefix.len() > MAX_PREFIX_BYTES {
                return Err(refuse(format!("a prefix has at most {MAX_PREFIX_BYTES} bytes and no control characters")));
            }
            if !prefix.is_empty() && !prefix.ends_with('/') {
                return Err(refuse(format!("a prefix ends in `/`: gs://{bucket}/{prefix}/")));
            }
            return Ok(Self::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() });
        }
        if text.starts_with("projects/") {
            check_topic(text).map_err(|error| refuse(error.to_string()))?;
            return Ok(Self::Topic(text.to_owned()));
        }
        Err(refuse("expected `response`, `stdout`, `projects/P/topics/T` or `gs://BUCKET/PREFIX/`".into()))
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Response => f.write_str("response"),
            Self::Stdout => f.write_str("stdout"),
            Self::Topic(name) => f.write_str(name),
            Self::Bucket { bucket, prefix } => write!(f, "gs://{bucket}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_and_printed() {
        for text in [
            "response",
            "stdout",
            "projects/my-project/topics/ai-workloads-results",
            "projects/example.com:legacy/topics/abc",
            "gs://my-bucket/",
            "gs://my.bucket/results/of today/",
        ] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        let whole = Destination::Bucket { bucket: "my-bucket".into(), prefix: String::new() };
        assert_eq!(" gs://my-bucket ".parse(), Ok(whole));
    }

    #[test]
    fn errors_say_what_would_be_right() {
        for (text, right) in [
            ("", "`response`, `stdout`, `projects/P/topics/T`"),
            ("Response", "`response`"),
            ("ai-workloads-results", "`projects/P/topics/T`"),
            ("projects/p/subscriptions/s", "projects/P/topics/NAME"),
            ("projects//topics/abc", "no project id"),
            ("projects/p/topics/ab", "3 to 255"),
            ("projects/p/topics/goog-x", "not with `goog`"),
            ("gs://", "no bucket name"),
            ("gs://Bucket/", "a-z 0-9"),
            ("gs://bucket/results", "gs://bucket/results/"),
        ] {
            let error = text.parse::<Destination>().unwrap_err().to_string();
            assert!(error.contains(right), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_prints_to_the_same(text in "\\PC{0,40}|(gs://|projects/)[a-z0-9/:-]{0,40}") {
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse(), Ok(destination));
            }
        }
    }
}
