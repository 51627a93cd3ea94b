//! Every form, as its sender sends it.

use super::*;
use ::base64::Engine;

#[test]
fn eventarc_binary() {
    let expected = Message { source: TOPIC.into(), ..pushed() };
    assert_eq!(one(&EVENTARC, PUSH), expected);
}

#[test]
fn eventarc_id_and_source_win() {
    let mut headers = EVENTARC;
    headers[0].1 = "outer";
    let message = one(&headers, PUSH);
    assert_eq!((message.id.as_str(), message.source.as_str()), ("outer", TOPIC));
}

#[test]
fn event_time_stands_in_for_a_missing_publish_time() {
    assert_eq!(one(&EVENTARC, r#"{"message":{}}"#).time, "2026-11-20T10:11:12.345Z");
    let published = r#"{"message":{"publishTime":"2020-01-01T00:00:00Z"}}"#;
    assert_eq!(one(&EVENTARC, published).time, "2020-01-01T00:00:00Z");
}

#[test]
fn structured_pubsub_whatever_the_order_and_encoding_of_its_data() {
    let expected = Message { source: TOPIC.into(), ..pushed() };
    let context = format!(r#""specversion":"1.0","id":"2070443601311540","source":"{TOPIC}","type":"{PUBSUB_TYPE}""#);
    let encoded = ::base64::engine::general_purpose::STANDARD.encode(PUSH);
    for body in [
        format!(r#"{{{context},"data":{PUSH}}}"#),
        format!(r#"{{"data":{PUSH},{context}}}"#),
        format!(r#"{{"data":{},{context}}}"#, serde_json::to_string(PUSH).unwrap()),
        format!(r#"{{{context},"data_base64":"{encoded}"}}"#),
    ] {
        assert_eq!(one(&[("content-type", STRUCTURED)], body), expected);
    }
}

#[test]
fn structured_other_types() {
    let structured = |members: &str| one(&[("content-type", STRUCTURED)], event(members));
    let expected = |data: &'static str| Message {
        id: "e1".into(),
        source: "/s".into(),
        kind: "com.example.made".into(),
        data: data.into(),
        ..Message::default()
    };
    assert_eq!(structured(r#","data":"text""#), expected("text"));
    assert_eq!(structured(r#","data":"a \"\u00e9\"""#), expected("a \"é\""));
    assert_eq!(structured(r#","data": {"a" : [1, 2]} "#), expected(r#"{"a" : [1, 2]}"#));
    assert_eq!(structured(r#","data":[1]"#), expected("[1]"));
    assert_eq!(structured(r#","data":12.50"#), expected("12.50"));
    assert_eq!(structured(r#","data":false"#), expected("false"));
    assert_eq!(structured(r#","data_base64":"aGk=""#), expected("hi"));
    for none in ["", r#","data":null"#, r#","data":"""#, r#","data_base64":"""#] {
        assert_eq!(structured(none), expected(""));
    }
    assert_eq!(structured(r#","data":null,"data_base64":"aGk=""#), expected("hi"));
}

#[test]
fn structured_extensions_become_attributes() {
    let members = r#","time":"2026-11-20T10:11:12Z","subject":"s","dataschema":"http://x","datacontenttype":"a/b",
        "task":"embed","n":-5,"big":4294967296,"yes":true,"no":false,"none":null,"note":"\u00e9\/""#;
    let message = one(&[("content-type", STRUCTURED)], event(members));
    assert_eq!(message.time, "2026-11-20T10:11:12Z");
    let expected =
        [("task", "embed"), ("n", "-5"), ("big", "4294967296"), ("yes", "true"), ("no", "false"), ("note", "é/")];
    assert_eq!(message.attributes, attributes(&expected));
}

#[test]
fn a_bad_entry_does_not_spoil_a_batch() {
    let body = format!(
        r#"[{}, 7, {{"specversion":"0.3"}}, {}, [], {}]"#,
        event(r#","data":"one""#),
        event(r#","data_base64":"?""#),
        event(r#","data":"two""#)
    );
    let entries = many(body);
    let codes: Vec<_> = entries
        .iter()
        .map(|entry| match entry {
            Ok(message) => std::str::from_utf8(&message.data).unwrap(),
            Err(error) => error.code(),
        })
        .collect();
    let expected = ["one", "wrong-shape", "unsupported-specversion", "bad-base64", "wrong-shape", "two"];
    assert_eq!(codes, expected);
    assert_eq!(many("[]"), []);
}

#[test]
fn push_wrapper() {
    assert_eq!(one(&[], PUSH), pushed());
    assert_eq!(one(&[("content-type", "application/json")], PUSH), pushed());
    assert_eq!(one(&[("content-type", "application/x-www-form-urlencoded")], PUSH), pushed());
}

#[test]
fn push_without_a_subscription() {
    let message = one(&[], r#"{"message":{"messageId":"1","data":"aGk="}}"#);
    assert_eq!((message.source.as_str(), message.subscription.as_str()), ("//pubsub.googleapis.com", ""));
    assert_eq!((message.data, message.delivery_attempt), ("hi".into(), None));
}

#[test]
fn unwrapped_push() {
    let headers = [
        ("x-goog-pubsub-message-id", "7"),
        ("x-goog-pubsub-publish-time", "2026-11-20T10:11:12.345Z"),
        ("x-goog-pubsub-subscription-name", SUBSCRIPTION),
        ("x-goog-pubsub-ordering-key", "user-7"),
        ("Task", "embed"),
        ("idempotency-key", "k 100%25"),
        ("priority", "high"),
        ("ce-extra", "kept"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("dup", "a"),
        ("dup", "b"),
    ];
    let transport = [
        ("host", "x"),
        ("content-length", "5"),
        ("content-type", "text/plain"),
        ("user-agent", "u"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        ("authorization", "Bearer secret"),
        ("from", "noreply@google.com"),
        ("forwarded", "for=1"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-cloud-trace-context", "t"),
        ("via", "1.1 google"),
        ("x-serverless-authorization", "Bearer secret"),
        ("connection", "keep-alive"),
    ];
    let expected = Message {
        id: "7".into(),
        source: format!("//pubsub.googleapis.com/{SUBSCRIPTION}"),
        kind: PUBSUB_TYPE.into(),
        time: "2026-11-20T10:11:12.345Z".into(),
        data: "hello".into(),
        content_type: "text/plain".into(),
        attributes: attributes(&[
            ("task", "embed"),
            ("idempotency-key", "k 100%25"),
            ("priority", "high"),
            ("ce-extra", "kept"),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ("dup", "a, b"),
        ]),
        ordering_key: "user-7".into(),
        delivery_attempt: None,
        subscription: SUBSCRIPTION.into(),
    };
    assert_eq!(one(&[&headers[..], &transport[..]].concat(), "hello"), expected);
}

#[test]
fn unwrapped_push_of_a_cloudevent() {
    let mut headers = vec![
        ("ce-id", "e1"),
        ("ce-source", "/s"),
        ("ce-type", "com.example.made"),
        ("ce-specversion", "1.0"),
        ("ce-task", "embed"),
        ("x-goog-pubsub-message-id", "7"),
        ("x-goog-pubsub-subscription-name", SUBSCRIPTION),
        ("x-goog-pubsub-ordering-key", "user-7"),
        ("task", "rerank"),
        ("other", "x"),
        ("user-agent", "u"),
    ];
    let message = one(&headers, "hello");
    assert_eq!((message.id.as_str(), message.source.as_str()), ("e1", "/s"));
    assert_eq!((message.data.as_ref(), message.ordering_key.as_str()), (&b"hello"[..], "user-7"));
    assert_eq!(message.subscription, SUBSCRIPTION);
    assert_eq!(message.attributes, attributes(&[("task", "embed"), ("other", "x")]));

    // As a request of Eventarc's can be made with an emulator.
    headers[2].1 = PUBSUB_TYPE;
    let message = one(&headers, PUSH);
    assert_eq!(message, Message { id: "e1".into(), source: "/s".into(), ..pushed() });
}

#[test]
fn binary_other_types() {
    let headers = [
        ("CE-Id", "e1"),
        ("ce-source", "/s"),
        ("ce-type", "com.example.made"),
        ("ce-specversion", "1.0"),
        ("ce-time", "2026-11-20T10:11:12Z"),
        ("ce-subject", "s"),
        ("ce-dataschema", "http://x"),
        ("ce-task", "embed"),
        ("ce-idempotency-key", "k"),
        ("task", "not an extension"),
        ("content-type", "text/plain"),
    ];
    let expected = Message {
        id: "e1".into(),
        source: "/s".into(),
        kind: "com.example.made".into(),
        time: "2026-11-20T10:11:12Z".into(),
        data: Bytes::from_static(b"\x00\xff raw"),
        content_type: "text/plain".into(),
        attributes: attributes(&[("task", "embed"), ("idempotency-key", "k")]),
        ..Message::default()
    };
    assert_eq!(one(&headers, &b"\x00\xff raw"[..]), expected);
}

#[test]
fn binary_values_are_decoded_once() {
    let value = |text: &str| {
        let mut headers = vec![("ce-note", text)];
        headers.extend(requests().pop().unwrap().0);
        one(&headers, "").attributes["note"].clone()
    };
    assert_eq!(value("caf%C3%A9%20%22x%22"), "café \"x\"");
    assert_eq!(value("100%2525"), "100%25");
    assert_eq!(value("100% sure %zz %"), "100% sure %zz %");
    assert_eq!(value("café"), "café");
    assert_eq!(value(r#""a \"b\" \\ %41""#), r#"a "b" \ A"#);
    assert_eq!(value(r#""a"b""#), r#""a"b""#);
    assert_eq!(value("\""), "\"");
    assert_eq!(value(""), "");
}
