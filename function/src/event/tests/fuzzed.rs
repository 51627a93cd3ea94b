//! Damaged requests of every form: an answer within bounds, whatever comes. How it is run: the crate `fuzz`.

use fuzz::{Damaged, Hits};

use super::*;

/// Reads a request and checks what holds for all of them.
fn check(headers: &HeaderMap, body: Vec<u8>) {
    let length = body.len();
    let entries = match decode(headers, body.into()) {
        Ok(Incoming::One(message)) => vec![Ok(message)],
        Ok(Incoming::Batch(entries)) => entries,
        Err(error) => vec![Err(error)],
    };
    assert!(entries.len() <= MAX_EVENTS);
    let mut data = 0;
    for entry in entries {
        match entry {
            Ok(message) => {
                data += message.data.len();
                check_message(&message);
            }
            Err(error) => assert_presentable(&error),
        }
    }
    assert!(data <= length, "{data} bytes of data from a body of {length}");
}

fn check_message(message: &Message) {
    for text in [&message.id, &message.source, &message.kind] {
        assert!(!text.is_empty());
    }
    let texts =
        [&message.id, &message.source, &message.kind, &message.time, &message.ordering_key, &message.subscription];
    // A source made of the subscription is a little longer.
    assert!(texts.iter().all(|text| text.len() <= MAX_VALUE + 30));
    assert!(message.attributes.len() <= MAX_ATTRIBUTES);
    for (key, value) in &message.attributes {
        assert!((1..=MAX_KEY).contains(&key.len()) && value.len() <= MAX_VALUE);
    }
    assert_ne!(message.delivery_attempt, Some(0));
}

/// What the damage leaves of a header's value that HTTP lets through.
fn header_value(mut value: Vec<u8>) -> Vec<u8> {
    value.retain(|byte| *byte >= b' ' && *byte != 0x7f);
    value
}

/// Headers that mean something, and some that do not.
const NAMES: [&str; 14] = [
    "content-type",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-specversion",
    "ce-time",
    "ce-x",
    "ce-",
    "x-goog-pubsub-message-id",
    "x-goog-pubsub-subscription-name",
    "x-goog-pubsub-ordering-key",
    "task",
    "host",
    "authorization",
];

const VALUES: [&str; 8] =
    [STRUCTURED, BATCH, "application/cloudevents", PUBSUB_TYPE, "1.0", "%E2%80%AE%00", "\"quo\\ted\"", "\u{e9}"];

/// A real request's headers with damage to two of their values and up to two more headers, and a real request's body,
/// not always the same one's.
type Damage = (u8, [Option<(u8, Hits)>; 2], [Option<(u8, Damaged)>; 2], Damaged);

#[test]
fn requests_within_bounds() {
    let requests = requests();
    let bodies: Vec<&str> = requests.iter().map(|(_, body)| body.as_str()).collect();
    let tokens: Vec<&str> = fuzz::JSON
        .iter()
        .copied()
        .chain(["=", "\"message\":", "\"data\":", "\"data_base64\":\"AA==\",", "\"id\":\"x\",", "\"attributes\":{"])
        .collect();
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |(headers, values, more, body): &Damage| {
            let headers = &requests[usize::from(*headers) % requests.len()].0;
            let mut pairs: Vec<(&str, Vec<u8>)> =
                headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
            for (which, hits) in values.iter().flatten() {
                let which = usize::from(*which) % pairs.len();
                hits.apply(&mut pairs[which].1, &VALUES, &VALUES);
            }
            for (name, value) in more.iter().flatten() {
                pairs.push((NAMES[usize::from(*name) % NAMES.len()], value.bytes(&VALUES, &VALUES)));
            }
            pairs.iter_mut().for_each(|(_, value)| *value = header_value(std::mem::take(value)));
            check(&header_map(&pairs), body.bytes(&bodies, &tokens));
        },
    );
}
