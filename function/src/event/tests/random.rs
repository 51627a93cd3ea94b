//! Random requests and damaged real ones: an answer within bounds, whatever comes.

use proptest::{prelude::*, sample::Index};

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

/// Damage to a request's bytes. Places are relative, so that they suit every length.
#[derive(Clone, Debug)]
enum Damage {
    Flip(Index, u8),
    Cut(Index, Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index, u8),
    Truncate(Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let range = |a: &Index, b: &Index, length: usize| {
            let (a, b) = (a.index(length + 1), b.index(length + 1));
            a.min(b)..a.max(b)
        };
        match self {
            Self::Flip(at, bits) if !bytes.is_empty() => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Self::Flip(..) => {}
            Self::Cut(a, b) => drop(bytes.drain(range(a, b, bytes.len()))),
            Self::Insert(at, more) => {
                let at = at.index(bytes.len() + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat(a, b, times) => {
                let range = range(a, b, bytes.len());
                let part = bytes[range.clone()].repeat(usize::from(times % 4));
                bytes.splice(range.end..range.end, part);
            }
            Self::Truncate(at) => bytes.truncate(at.index(bytes.len() + 1)),
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    // Tokens of the formats make more requests that are nearly right.
    let tokens = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "null",
        "\\",
        "\\u00",
        "\\ud83d",
        "=",
        "1e999",
        "-",
        "\"message\":",
        "\"data\":",
        "\"data_base64\":\"AA==\",",
        "\"id\":\"x\",",
        "\u{feff}",
        "\u{202e}",
        "\u{1}",
    ]);
    prop_oneof![
        (any::<Index>(), 1..=255_u8).prop_map(|(at, bits)| Damage::Flip(at, bits)),
        (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Damage::Cut(a, b)),
        (any::<Index>(), prop::collection::vec(any::<u8>(), 1..8)).prop_map(|(at, more)| Damage::Insert(at, more)),
        (any::<Index>(), tokens).prop_map(|(at, token)| Damage::Insert(at, token.into())),
        (any::<Index>(), any::<Index>(), any::<u8>()).prop_map(|(a, b, times)| Damage::Repeat(a, b, times)),
        any::<Index>().prop_map(Damage::Truncate),
    ]
}

/// What the damage leaves of a header's value that HTTP lets through.
fn header_value(mut value: Vec<u8>) -> Vec<u8> {
    value.retain(|byte| *byte >= b' ' && *byte != 0x7f);
    value
}

fn content_type() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![STRUCTURED, BATCH, "application/json", "application/cloudevents", ""])
            .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(header_value),
    ]
}

fn header_names() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
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
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => "[a-z-]{1,30}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_requests(
        content_type in content_type(),
        headers in prop::collection::vec((header_names(), prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut pairs = vec![("content-type".to_owned(), content_type)];
        pairs.extend(headers.into_iter().map(|(name, value)| (name, header_value(value))));
        check(&header_map(&pairs), body);
    }

    #[test]
    fn damaged_requests(
        which in any::<Index>(),
        body_damage in prop::collection::vec(damage(), 0..6),
        header_damage in prop::collection::vec((any::<Index>(), damage()), 0..3),
        more in prop::collection::vec((header_names(), prop::collection::vec(any::<u8>(), 0..40)), 0..2),
    ) {
        let (headers, body) = which.get(&requests()).clone();
        let mut body = body.into_bytes();
        body_damage.iter().for_each(|damage| damage.apply(&mut body));
        let mut pairs: Vec<_> = headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
            .chain(more)
            .collect();
        for (which, damage) in &header_damage {
            let which = which.index(pairs.len());
            damage.apply(&mut pairs[which].1);
        }
        let pairs: Vec<_> = pairs.into_iter().map(|(name, value)| (name, header_value(value))).collect();
        check(&header_map(&pairs), body);
    }
}
