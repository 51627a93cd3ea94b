//! Dead letters of arbitrary messages: the letter is within Pub/Sub's limits, and the message can be read back from it.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::letter::{Data, FORMS, Form};
use super::*;
use crate::sink::attributes::clean;
use bytes::Bytes;
use infra::limits::TRACE_ATTRIBUTES;

const MEGABYTES: usize = 10_000_000;
const LABELS: [&str; 6] = [REASON, DETAIL, SOURCE_MESSAGE_ID, SOURCE_TOPIC, SERVICE, TIME];

fn message(attributes: impl IntoIterator<Item = (String, String)>) -> Message {
    Message {
        id: "17".into(),
        source: "//pubsub.googleapis.com/projects/p/topics/t".into(),
        attributes: attributes.into_iter().collect(),
        ..Message::default()
    }
}

fn numbered(count: usize, value: &str) -> Message {
    message((0..count).map(|n| (format!("a{n:03}"), value.to_owned())))
}

fn letter(message: &Message, form: Form) -> Letter {
    let labels = labels(message, "bad-payload", "no input", "service", "2026-01-02T03:04:05Z");
    let original = Original::of_message(message);
    let letter = Letter::new(&original, &labels, form, &Data::Whole);
    if letter.data_room() >= message.data.len() {
        return letter;
    }
    Letter::new(&original, &labels, form, &Data::cut(&message.data))
}

fn first(message: &Message) -> Letter {
    letter(message, FORMS[0])
}

/// What Pub/Sub documents of a message, without the code under test; `strict` where attributes count as data.
fn refusal(letter: &Letter, data: &Bytes, strict: bool) -> Option<String> {
    let mut total = data.len() + letter.ordering_key.len();
    for (name, value) in &letter.attributes {
        total += name.len() + value.len();
        let trace = TRACE_ATTRIBUTES.contains(&name.as_str());
        if name.is_empty() || name.len() > 256 || value.len() > 1024 || (name.starts_with("goog") && !trace) {
            return Some(format!("attribute {name:?}"));
        }
    }
    match () {
        () if letter.attributes.len() > 100 => Some(format!("{} attributes", letter.attributes.len())),
        () if letter.ordering_key.len() > 1024 => Some("the ordering key".to_owned()),
        () if data.len() > MEGABYTES || (strict && total > MEGABYTES) || total > 10 << 20 => {
            Some(format!("{total} bytes"))
        }
        () => None,
    }
}

#[test]
fn a_message_that_fits_is_unchanged_but_for_six_labels() {
    let mut message = numbered(1, "v");
    message.attributes.insert(DETAIL.into(), "of an earlier rejection".into());
    message.attributes.insert("googclient_traceparent".into(), "kept".into());
    message.ordering_key = "key\n".into();
    let found = first(&message);
    let expected = [
        ("a000", "v"),
        (DETAIL, "no input"),
        (REASON, "bad-payload"),
        (SERVICE, "service"),
        (SOURCE_MESSAGE_ID, "17"),
        (SOURCE_TOPIC, "projects/p/topics/t"),
        (TIME, "2026-01-02T03:04:05Z"),
        ("googclient_traceparent", "kept"),
    ];
    assert!(found.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{found:?}");
    assert_eq!(found.ordering_key, "key\n");
    assert_eq!(first(&numbered(94, "v")).attributes.len(), 100);
}

#[test]
fn reserved_attributes_are_left_out_and_named() {
    let schema = ["encoding", "name", "revisionid"].map(|end| (format!("googclient_schema{end}"), "x".to_owned()));
    let mut message = message(schema);
    message.attributes.insert("kept".into(), "v".into());
    let found = first(&message);
    assert_eq!(
        found.attributes[LEFT_OUT],
        "googclient_schemaencoding, googclient_schemaname, googclient_schemarevisionid"
    );
    assert!(found.attributes.keys().all(|name| !name.starts_with("goog")) && found.attributes["kept"] == "v");
    assert!(!found.attributes.contains_key(LOST));
    assert_eq!(Original::of(&found.attributes, ""), Original::of_message(&message));
}

#[test]
fn a_full_message_has_all_labels_and_loses_nothing() {
    for count in 95..=100 {
        let mut message = numbered(count - 1, "v");
        message.attributes.insert("task".into(), "t".into());
        let found = first(&message);
        assert_eq!(refusal(&found, &Bytes::new(), true), None, "{count}");
        assert!(LABELS.iter().all(|label| found.attributes.contains_key(*label)), "{count}");
        assert_eq!((found.attributes["task"].as_str(), found.attributes.contains_key(LOST)), ("t", false));
        assert_eq!(Original::of(&found.attributes, ""), Original::of_message(&message), "{count}");
    }
    // No more than must be.
    let found = first(&numbered(95, "v"));
    assert_eq!(found.attributes[LEFT_OUT], "a000, a001, a002");
    assert_eq!(found.attributes[ORIGINAL], r#"{"attributes":{"a000":"v","a001":"v","a002":"v"}}"#);
}

#[test]
fn the_longest_of_too_many_long_ones_are_lost_and_named() {
    let mut message = numbered(99, &"v".repeat(1020));
    message.attributes.insert("a050".into(), "v".repeat(1024));
    message.attributes.insert("task".into(), "t".into());
    let found = first(&message);
    assert_eq!(refusal(&found, &Bytes::new(), true), None);
    assert!(found.attributes[LOST].starts_with("a050; "), "{}", found.attributes[LOST]);
    // Six labels, two notes, and 92 of the message.
    assert_eq!((found.attributes.len(), found.attributes["task"].as_str()), (100, "t"));
    assert_eq!(Original::of(&found.attributes, "").attributes.len(), 92);
}

#[test]
fn data_gives_way_last_and_says_so() {
    let mut message = numbered(1, "v");
    message.data = "é".repeat(MEGABYTES / 2).into();
    let found = first(&message);
    assert!(found.data(&message.data) == message.data && !found.attributes.contains_key(LOST));

    message.data = format!("x{}", "é".repeat(MEGABYTES / 2)).into();
    let found = first(&message);
    let data = found.data(&message.data);
    assert_eq!((data.len(), found.attributes[LEFT_OUT].as_str()), (MEGABYTES - 1, "data"));
    assert!(std::str::from_utf8(&data).is_ok() && found.attributes[LOST].contains("10000001 bytes"));

    let strict = letter(&message, FORMS[2]);
    let data = strict.data(&message.data);
    assert_eq!(refusal(&strict, &data, true), None);
    assert!(data.len() > MEGABYTES - 1000 && message.data.starts_with(&data));

    let stored = Stored { uri: "gs://b/o".into(), generation: "1".into(), sha256: "0".into() };
    let labels = labels(&message, "r", "d", "s", "t");
    let found = Letter::new(&Original::of_message(&message), &labels, FORMS[0], &Data::Stored(stored));
    assert!(found.data(&message.data).is_empty() && !found.attributes.contains_key(LOST));
    assert_eq!((found.attributes[DATA_URI].as_str(), found.attributes[LEFT_OUT].as_str()), ("gs://b/o", "data"));
}

#[test]
fn labels_are_one_line_and_within_bounds() {
    let message = Message { id: "a\0b\nc".into(), source: "s".repeat(3000), ..Message::default() };
    let detail = "é\u{1b}".repeat(2000);
    let labels = labels(&message, "r", &detail, "s", "t");
    let found = Letter::new(&Original::default(), &labels, FORMS[0], &Data::Whole);
    assert_eq!(refusal(&found, &Bytes::new(), true), None);
    assert_eq!((found.attributes[SOURCE_MESSAGE_ID].as_str(), found.attributes[SOURCE_TOPIC].len()), ("a b c", 1024));
    assert!(found.attributes[DETAIL].starts_with("é é ") && found.attributes[DETAIL].len() > 1020);
}

/// Names and values of every kind that a message may bring, and of some that it may not.
fn attribute() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        8 => "[a-z]{1,12}",
        2 => "\\PC{0,40}",
        2 => "goog[a-z_]{0,20}",
        1 => "Goog[a-z_]{0,20}",
        1 => ("[a-z]", 240..300_usize).prop_map(|(letter, length)| letter.repeat(length)),
        1 => "(.|\\n|\\x00){0,20}",
        1 => "dead-letter-[a-z]{1,12}(-[0-9])?",
        2 => prop::sample::select(vec![
            "task", "idempotency-key", "payload-uri", "traceparent", "googclient_traceparent", "googclient_schemaname",
            "CloudPubSubDeadLetterSourceDeliveryCount", REASON, DETAIL, LEFT_OUT, LOST, ORIGINAL,
            "dead-letter-original-2",
            DATA_URI, "redrive-count", "ce-id",
        ]).prop_map(str::to_owned),
    ];
    let value = prop_oneof![
        6 => "\\PC{0,20}",
        2 => "(.|\\n|\\x00|\"){0,60}",
        2 => (1000..1030_usize).prop_map(|length| "v".repeat(length)),
        1 => (300..1024_usize).prop_map(|length| "\x01".repeat(length)),
        1 => (500..700_usize).prop_map(|length| "é".repeat(length)),
        1 => Just(r#"{"attributes":{"from":"before","task":"no"},"orderingKey":"k"}"#.to_owned()),
    ];
    (name, value)
}

fn messages() -> impl Strategy<Value = Message> {
    let attributes = prop_oneof![
        vec(attribute(), 0..8),
        vec(attribute(), 90..105),
        btree_map("[a-z]{3,6}", (0..1024_usize).prop_map(|length| "v".repeat(length)), 95..=100)
            .prop_map(|map| map.into_iter().collect()),
        vec(attribute(), 200..300),
    ];
    let size = prop_oneof![8 => 0..100_usize, 1 => (MEGABYTES - 3000)..(MEGABYTES + 3000)];
    (attributes, "\\PC{0,40}|k{1024}|k{1025}", size, "(.|\\x00){0,30}").prop_map(
        |(attributes, ordering_key, size, id)| Message {
            id,
            ordering_key,
            data: Bytes::from(vec![0xc3; size]),
            ..message(attributes)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 500, ..ProptestConfig::default() })]
    #[test]
    fn every_message_has_a_letter_within_the_limits(message in messages()) {
        let original = Original::of_message(&message);
        for form in FORMS {
            let found = letter(&message, form);
            let data = found.data(&message.data);
            let strict = form == FORMS[2] || form == FORMS[3];
            prop_assert_eq!(refusal(&found, &data, strict), None);
            prop_assert!(LABELS.iter().all(|label| found.attributes.contains_key(*label)));
            prop_assert!(message.data.starts_with(&data));
            let back = Original::of(&found.attributes, &found.ordering_key);
            let lost = found.attributes.get(LOST);
            prop_assert!(data == message.data || lost.is_some());
            // The letter holds nothing that the message did not have; what it lacks is reserved, or reported as lost.
            for (name, value) in &back.attributes {
                prop_assert_eq!(Some(value), original.attributes.get(name));
            }
            if lost == original.lost.as_ref().map(|lost| clean(lost)).as_ref() {
                let own = |all: &Original| -> Vec<String> {
                    all.attributes.keys().filter(|name| !infra::limits::is_reserved(name)).cloned().collect()
                };
                prop_assert_eq!(own(&back), own(&original));
                prop_assert_eq!(&back.ordering_key, &original.ordering_key);
            }
            // A letter of a letter holds the same.
            let (attributes, ordering_key) = (found.attributes, found.ordering_key);
            let again = Message { attributes, ordering_key, data, ..message.clone() };
            let second = letter(&again, form);
            prop_assert_eq!(refusal(&second, &second.data(&again.data), strict), None);
            let twice = Original::of(&second.attributes, &second.ordering_key);
            prop_assert_eq!(twice.attributes, back.attributes);
            prop_assert_eq!(twice.ordering_key, back.ordering_key);
        }
    }
}
