//! Values with a JSON form of their own, after <https://protobuf.dev/programming-guides/json/>; and helpers of all
//! resources.

use std::time::Duration;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use tonic::Status;

use crate::time::Time;

/// A duration: `"3.5s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JsonDuration(pub(super) prost_types::Duration);

impl Serialize for JsonDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(prost_types::Duration { seconds, nanos }) = self;
        if *nanos == 0 {
            return serializer.collect_str(&format_args!("{seconds}s"));
        }
        let fraction = format!("{nanos:09}");
        serializer.collect_str(&format_args!("{seconds}.{}s", fraction.trim_end_matches('0')))
    }
}

impl<'de> Deserialize<'de> for JsonDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parse = || {
            let number = text.strip_suffix('s')?;
            let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
                return None;
            }
            let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
            prost_types::Duration::try_from(Duration::new(seconds.parse().ok()?, nanos)).ok()
        };
        parse()
            .map(Self)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is no duration such as \"600s\" or \"0.5s\"")))
    }
}

/// A point in time: RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JsonTimestamp(pub(super) prost_types::Timestamp);

impl Serialize for JsonTimestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Time::from_proto(&self.0).to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for JsonTimestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp =
            text.parse().map_err(|error| de::Error::custom(format!("{text:?} is no RFC 3339 time: {error}")))?;
        Ok(Self(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }))
    }
}

/// Bytes: base64, read in either alphabet, with or without padding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Base64(pub(super) Bytes);

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&GeneralPurpose::new(&STANDARD, LENIENT).encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let data = GeneralPurpose::new(alphabet, LENIENT).decode(&text);
        data.map(|data| Self(data.into()))
            .map_err(|error| de::Error::custom(format!("Base64 decoding failed: {error}")))
    }
}

/// Reads a number, or a number in quotes.
pub(super) fn int<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Int {
        Number(i32),
        Text(String),
    }
    match Int::deserialize(deserializer)? {
        Int::Number(number) => Ok(number),
        Int::Text(text) => text.parse().map_err(|_| de::Error::custom(format!("{text:?} is no 32-bit number"))),
    }
}

/// Reads `"ackDeadlineSeconds,pushConfig.pushEndpoint"`, as paths.
pub(super) fn mask<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// Refuses a field of a feature that the local Pub/Sub lacks.
///
/// # Errors
/// UNIMPLEMENTED if the field is set.
pub(super) fn absent(field: &str, value: Option<&Value>) -> Result<(), Status> {
    match value {
        None => Ok(()),
        Some(_) => Err(Status::unimplemented(format!("This local Pub/Sub has no {field}; leave the field out here."))),
    }
}
