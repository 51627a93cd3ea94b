//! The request of a push: Pub/Sub's wrapped or unwrapped message, or the CloudEvent of an Eventarc trigger.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use http::header::{AUTHORIZATION, CONTENT_TYPE, FROM, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request};
use http_body_util::Full;
use pb::push_config::{AuthenticationMethod, Wrapper};
use serde::Serialize;

use super::token::Tokens;
use crate::message::Message;
use crate::time::Time;

/// The body of a wrapped message. Pub/Sub sends two of its fields in two spellings, Eventarc in one.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped<'a> {
    message: Fields<'a>,
    subscription: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempt: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    message_id: &'a str,
    #[serde(rename = "message_id", skip_serializing_if = "Option::is_none")]
    message_id_again: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ordering_key: &'a str,
    publish_time: &'a str,
    #[serde(rename = "publish_time", skip_serializing_if = "Option::is_none")]
    publish_time_again: Option<&'a str>,
}

/// The request that delivers this message.
///
/// # Errors
/// Why it cannot be built.
pub(super) fn build(
    settings: &pb::Subscription,
    eventarc: bool,
    message: &Message,
    attempt: u32,
    tokens: &Tokens,
    now: Time,
) -> Result<Request<Full<Bytes>>, String> {
    let push = settings.push_config.as_ref().ok_or("the subscription pushes nowhere")?;
    let (id, published) = (message.id(), message.publish_time.to_rfc3339());
    let mut headers = HeaderMap::new();
    headers.insert(
        USER_AGENT,
        HeaderValue::from_static("APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"),
    );
    headers.insert(FROM, HeaderValue::from_static("noreply@google.com"));
    let attempt = settings.dead_letter_policy.is_some().then_some(attempt);
    let body = match &push.wrapper {
        _ if eventarc => {
            event_headers(&mut headers, settings, &id, &published);
            wrapped(settings, message, &id, &published, attempt, true)?
        }
        Some(Wrapper::NoWrapper(wrapper)) => {
            if wrapper.write_metadata {
                metadata(&mut headers, settings, message, &id, &published);
            }
            message.data.clone()
        }
        _ => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            wrapped(settings, message, &id, &published, attempt, false)?
        }
    };
    if let Some(AuthenticationMethod::OidcToken(token)) = &push.authentication_method {
        let audience = if token.audience.is_empty() { &push.push_endpoint } else { &token.audience };
        let token = tokens.get(now, &token.service_account_email, audience).ok_or("the token could not be signed")?;
        put(&mut headers, AUTHORIZATION, &format!("Bearer {token}"));
    }
    let mut request = Request::post(push.push_endpoint.as_str())
        .body(Full::new(body))
        .map_err(|error| format!("the endpoint {}: {error}", push.push_endpoint))?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn wrapped(
    settings: &pb::Subscription,
    message: &Message,
    id: &str,
    published: &str,
    delivery_attempt: Option<u32>,
    eventarc: bool,
) -> Result<Bytes, String> {
    let fields = Fields {
        attributes: (eventarc || !message.attributes.is_empty()).then_some(&message.attributes),
        data: BASE64_STANDARD.encode(&message.data),
        message_id: id,
        message_id_again: (!eventarc).then_some(id),
        ordering_key: &message.ordering_key,
        publish_time: published,
        publish_time_again: (!eventarc).then_some(published),
    };
    let body = Wrapped { message: fields, subscription: &settings.name, delivery_attempt };
    serde_json::to_vec(&body).map(Bytes::from).map_err(|error| error.to_string())
}

/// Headers of a CloudEvent in binary mode: <https://cloud.google.com/eventarc/docs/cloudevents>.
fn event_headers(headers: &mut HeaderMap, settings: &pb::Subscription, id: &str, published: &str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in [
        ("ce-id", id),
        ("ce-source", &format!("//pubsub.googleapis.com/{}", settings.topic)),
        ("ce-specversion", "1.0"),
        ("ce-type", "google.cloud.pubsub.topic.v1.messagePublished"),
        ("ce-time", published),
    ] {
        put(headers, HeaderName::from_static(name), value);
    }
}

/// Metadata of an unwrapped message: attributes whose names are valid header names, and Pub/Sub's own headers, see
/// <https://cloud.google.com/pubsub/docs/payload-unwrapping>.
fn metadata(headers: &mut HeaderMap, settings: &pb::Subscription, message: &Message, id: &str, published: &str) {
    /// Headers of the connection, the body and the caller, which no attribute may replace.
    const PROTECTED_HEADERS: [&str; 9] = [
        "authorization",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    for (name, value) in &message.attributes {
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if !PROTECTED_HEADERS.contains(&name.as_str()) {
            put(headers, name, value);
        }
    }
    for (name, value) in [
        ("x-goog-pubsub-subscription-name", settings.name.as_str()),
        ("x-goog-pubsub-message-id", id),
        ("x-goog-pubsub-publish-time", published),
        ("x-goog-pubsub-ordering-key", &message.ordering_key),
    ] {
        if !value.is_empty() {
            put(headers, HeaderName::from_static(name), value);
        }
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
        headers.insert(name, value);
    }
}
