//! `null` where a field may be left out, and byte-order marks before bodies: they count as nothing, in every form.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A body with every field, its headers, and the fields that may be left out as JSON pointers.
type Form = (Vec<(&'static str, &'static str)>, Value, Vec<String>);

const PUSH_FIELDS: [&str; 12] = [
    "/subscription",
    "/deliveryAttempt",
    "/delivery_attempt",
    "/message/data",
    "/message/attributes",
    "/message/attributes/task",
    "/message/messageId",
    "/message/publishTime",
    "/message/publish_time",
    "/message/orderingKey",
    "/message/ordering_key",
    "/message/unknown",
];

fn forms() -> Vec<Form> {
    let push = json!({
        "message": {"attributes": {"task": "embed", "kind": "ticket"}, "data": "aGk=", "messageId": "1", "message_id": "2",
            "orderingKey": "k", "ordering_key": "l", "publishTime": "t", "publish_time": "u", "unknown": 1},
        "deliveryAttempt": 3, "delivery_attempt": 4, "subscription": "projects/p/subscriptions/s",
    });
    let within =
        |start: &str, fields: &[&str]| fields.iter().map(|field| format!("{start}{field}")).collect::<Vec<_>>();
    let push_in = |start: &str| [vec![format!("{start}/message/message_id")], within(start, &PUSH_FIELDS)].concat();
    let event = json!({"specversion": "1.0", "id": "e1", "source": "/s", "type": "a.b", "time": "t", "subject": "x",
        "dataschema": "d", "datacontenttype": "text/plain", "data": {"input": null}, "task": "embed", "traceparent": "00"});
    let context = ["/time", "/subject", "/dataschema", "/datacontenttype", "/data_base64", "/task", "/traceparent"];
    let pubsub =
        json!({"specversion": "1.0", "id": "e1", "source": "/s", "type": PUBSUB_TYPE, "time": "t", "data": push});
    let encoded =
        json!({"specversion": "1.0", "id": "e1", "source": "/s", "type": "a.b", "data_base64": "aGk=", "x": 1});
    vec![
        (vec![], push.clone(), within("", &PUSH_FIELDS)),
        (EVENTARC.to_vec(), push.clone(), push_in("")),
        (JSON.to_vec(), pubsub.clone(), [vec!["/time".to_owned()], push_in("/data")].concat()),
        (JSON.to_vec(), event.clone(), within("", &[&context[..], &["/data"]].concat())),
        (JSON.to_vec(), encoded, within("", &["/data", "/data_base64", "/x"])),
        (vec![("content-type", BATCH)], json!([event, pubsub]), [within("/0", &context), push_in("/1/data")].concat()),
    ]
}

/// The body with these fields left out, or `null`.
fn without(body: &Value, fields: &[&String], null: bool) -> Value {
    let mut body = body.clone();
    for field in fields {
        let (parent, name) = field.rsplit_once('/').unwrap();
        let Some(Value::Object(parent)) = body.pointer_mut(parent) else { continue };
        if null {
            parent.insert(name.to_owned(), Value::Null);
        } else {
            parent.remove(name);
        }
    }
    body
}

#[test]
fn null_is_as_good_as_missing() {
    for (headers, body, fields) in forms() {
        assert!(run(&headers, body.to_string()).is_ok());
        for field in &fields {
            let [missing, null] = [false, true].map(|null| run(&headers, without(&body, &[field], null).to_string()));
            assert!(missing.is_ok(), "{field}: {missing:?}");
            assert_eq!(null, missing, "{field}");
        }
    }
}

proptest! {
    #[test]
    fn any_nulls_are_as_good_as_missing(form in 0..6_usize, chosen: u32) {
        let (headers, body, fields) = forms().swap_remove(form);
        let chosen: Vec<&String> = fields.iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1).map(|(_, field)| field).collect();
        let [missing, null] = [false, true].map(|null| run(&headers, without(&body, &chosen, null).to_string()));
        prop_assert_eq!(null, missing);
    }
}

#[test]
fn a_required_field_that_is_null_is_named() {
    for (body, pointer, name) in [
        (json!({"message": {"messageId": "1"}}), "/message", "`message`"),
        (json!({"message": {"messageId": "1", "data": "aGk="}}), "/message/messageId", "`messageId`"),
    ] {
        let found = error(&[], without(&body, &[&pointer.to_owned()], true).to_string());
        assert_error(found, "missing-field", name);
    }
    let body = json!({"specversion": "1.0", "id": "e1", "source": "/s", "type": PUBSUB_TYPE});
    for name in ["specversion", "id", "source", "type", "data"] {
        let found = error(&JSON, without(&body, &[&format!("/{name}")], true).to_string());
        assert_error(found, "missing-field", &format!("`{name}`"));
    }
}

#[test]
fn errors_name_the_field() {
    for (body, says) in [
        (r#"{"message":{"messageId":17}}"#, "`message.messageId`: invalid type: integer `17`, expected a string"),
        (r#"{"message":{"messageId":"1","attributes":{"n":1}}}"#, "`message.attributes.n`: invalid type: integer `1`"),
        (r#"{"message":{"messageId":"1","data":7}}"#, "`message.data`: "),
        (r#"{"message":{"messageId":"1"},"deliveryAttempt":"x"}"#, "`deliveryAttempt`: "),
    ] {
        assert_error(error(&[], body), "wrong-shape", says);
    }
    assert_error(error(&JSON, event("").replace("\"e1\"", "17")), "wrong-shape", "`id`: invalid type: integer `17`");
    assert_error(error(&JSON, event(r#","time":1"#)), "wrong-shape", "`time`: ");
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_body() {
    for (headers, body) in requests() {
        if !body.starts_with(['{', '[']) || headers.iter().any(|(name, _)| *name == "x-goog-pubsub-message-id") {
            continue;
        }
        assert_eq!(run(&headers, format!("\u{feff}{body}")), run(&headers, body.clone()), "{body}");
    }
    // Within an event, too.
    let push = ::base64::Engine::encode(&::base64::engine::general_purpose::STANDARD, format!("\u{feff}{PUSH}"));
    let inner = event(&format!(r#","data_base64":"{push}""#)).replace("com.example.made", PUBSUB_TYPE);
    assert_eq!(one(&JSON, inner).attributes, pushed().attributes);
}

#[test]
fn other_encodings_are_named() {
    for bytes in [u16::to_le_bytes, u16::to_be_bytes] {
        for mark in ["", "\u{feff}"] {
            let body: Vec<u8> = format!("{mark}{PUSH}").encode_utf16().flat_map(bytes).collect();
            assert_error(error(&[], body.clone()), "not-utf8", "UTF-16");
            assert_error(error(&JSON, body), "not-utf8", "UTF-16");
        }
    }
    assert_error(error(&[], &b"\x1f\x8b\x08\0\0\0\0\0"[..]), "not-utf8", "gzip");
}

#[test]
fn the_bare_data_of_a_message_is_told_from_a_broken_push() {
    for body in [
        r#"{"input":"hello"}"#,
        "{}",
        "",
        "hello",
        "[1]",
        "\"text\"",
        "12",
        r#"{"input":"#,
        r#"{"message":"a line of a log"}"#,
        r#"{"message":{"role":"user","content":"hello"}}"#,
        "\u{1f}\u{8b}",
    ] {
        let (code, text) = error(&[], body);
        assert!(text.contains("`writeMetadata`"), "{body}: {text}");
        // With an event around it, it came from no such subscription.
        match run(&EVENTARC, body.to_owned()) {
            Ok(_) => assert!(body.contains("role"), "{body}"),
            Err(found) => {
                assert_eq!(found.code(), code, "{body}");
                assert!(!found.to_string().contains("writeMetadata"), "{body}: {found}");
            }
        }
    }
    for body in [
        r#"{"message":{"messageId":1}}"#,
        r#"{"message":{"data":"aGk="}}"#,
        r#"{"message":{"messageId":"1","data":"?"}}"#,
    ] {
        let (_, text) = error(&[], body);
        assert!(!text.contains("writeMetadata"), "{body}: {text}");
    }
    assert_error(error(&[], event("")), "wrong-content-type", STRUCTURED);
    assert_error(error(&[], format!("[{}]", event(""))), "wrong-content-type", BATCH);
}

#[test]
fn an_error_of_a_batch_says_which_event() {
    let entries = many(format!(
        r#"[{},{},7,{},{{"id":"e5"}},{}]"#,
        event(""),
        event(r#","data_base64":"?""#).replace("e1", "e2"),
        event(r#","time":1"#).replace("e1", "e4"),
        event("").replace("\"e1\"", "17"),
    ));
    let found: Vec<_> = entries
        .iter()
        .map(|entry| {
            entry.as_ref().map(|message| &*message.id).map_err(|error| {
                assert_presentable(error);
                (error.code(), error.event_id(), error.to_string().split(": ").next().unwrap().to_owned())
            })
        })
        .collect();
    assert_eq!(
        found,
        [
            Ok("e1"),
            Err(("bad-base64", Some("e2"), "event [1] of the batch, id \"e2\"".to_owned())),
            Err(("wrong-shape", None, "event [2] of the batch, without an id".to_owned())),
            Err(("wrong-shape", Some("e4"), "event [3] of the batch, id \"e4\"".to_owned())),
            Err(("missing-field", Some("e5"), "event [4] of the batch, id \"e5\"".to_owned())),
            Err(("wrong-shape", None, "event [5] of the batch, without an id".to_owned())),
        ]
    );
    let long = "\u{1b}".repeat(1024);
    let found = many(json!([{"id": long}]).to_string()).remove(0).unwrap_err();
    assert_presentable(&found);
    // The array itself is broken at one of its events.
    assert_error(error(&[("content-type", BATCH)], format!("[{},{{\"id\":}}]", event(""))), "not-json", "`[1]");
}
