//! Values whose JSON is not that of serde: the mapping of <https://protobuf.dev/programming-guides/json/>.

use std::time::Duration;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::time::Time;

/// `"3.5s"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) prost_types::Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(prost_types::Duration { seconds, nanos }) = self;
        if *nanos == 0 {
            return serializer.collect_str(&format_args!("{seconds}s"));
        }
        let fraction = format!("{nanos:09}");
        serializer.collect_str(&format_args!("{seconds}.{}s", fraction.trim_end_matches('0')))
    }
}

impl<'de> Deserialize<'de> for Span {
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

/// RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment(pub(super) prost_types::Timestamp);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Time::from_proto(&self.0).to_rfc3339())
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time: jiff::Timestamp =
            text.parse().map_err(|error| de::Error::custom(format!("{text:?} is no RFC 3339 time: {error}")))?;
        Ok(Self(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }))
    }
}

/// Base64, in either alphabet and with or without padding.
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

/// A number, or a number in quotes.
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

/// `"ackDeadlineSeconds,pushConfig.pushEndpoint"`, as paths.
pub(super) fn mask<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(text.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect())
}
