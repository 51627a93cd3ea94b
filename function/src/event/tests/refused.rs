//! What is refused, and with which words.

use super::*;

#[test]
fn not_json() {
    assert_error(error(&[], ""), "not-json", "EOF");
    assert_error(error(&[], "hello"), "not-json", r#"found "hello""#);
    assert_error(error(&[], "{'message':{}}"), "not-json", "line 1 column 2");
    assert_error(error(&[], format!("{PUSH} {{}}")), "not-json", "trailing");
    assert_error(error(&JSON, "<event/>"), "not-json", "<event/>");
    assert_error(error(&[("content-type", BATCH)], "[1,]"), "not-json", "array of CloudEvents");
    assert_error(error(&EVENTARC, "\u{1b}[2J\u{202e}evil"), "not-json", r"\u{1b}[2J\u{202e}evil");
    assert_error(error(&JSON, event(r#","data":"\ud800 alone""#)), "not-json", "hex escape");
}

#[test]
fn truncated_anywhere() {
    for (headers, body) in requests() {
        let body_is_data = ["x-goog-pubsub-message-id", "ce-task"];
        if headers.iter().any(|(name, _)| body_is_data.contains(name)) {
            continue;
        }
        for end in 0..body.len() {
            let found = error(&headers, body.as_bytes()[..end].to_vec());
            assert!(["not-json", "not-utf8"].contains(&found.0), "{end}: {found:?}");
        }
    }
}

#[test]
fn not_utf8() {
    assert_error(error(&[], &b"\xff\xfe{}"[..]), "not-utf8", "offset 0");
    let body = [br#"{"x":""#, &b"\xc3("[..], br#""}"#].concat();
    for headers in [&[][..], &JSON, &[("content-type", BATCH)], &EVENTARC] {
        assert_error(error(headers, body.clone()), "not-utf8", "offset 6");
    }
    let inner = event(r#","data_base64":"/w==""#).replace("com.example.made", PUBSUB_TYPE);
    assert_error(error(&JSON, inner), "not-utf8", "offset 0");
}

#[test]
fn wrong_shapes() {
    for (body, says) in [
        ("7", "integer `7`, expected a Pub/Sub push"),
        ("null", "null"),
        ("[]", "sequence"),
        (r#""text""#, "string"),
        (r#"{"message":"text"}"#, "string, expected a Pub/Sub message"),
        (r#"{"message":[]}"#, "sequence"),
        (r#"{"message":{},"message":{}}"#, "duplicate field `message`"),
        (r#"{"message":{"messageId":1}}"#, "expected a string"),
        (r#"{"message":{"messageId":"1","messageId":"1"}}"#, "duplicate field `messageId`"),
        (r#"{"message":{"data":{}}}"#, "expected a base64 string"),
        (r#"{"message":{"attributes":[]}}"#, "object of attributes"),
        (r#"{"message":{"attributes":{"a":1}}}"#, "expected a string"),
        (r#"{"message":{"messageId":"1"},"deliveryAttempt":-1}"#, "`-1`, expected a whole number"),
        (r#"{"message":{"messageId":"1"},"deliveryAttempt":4294967296}"#, "below 2^32"),
        (r#"{"message":{"messageId":"1"},"deliveryAttempt":"soon"}"#, "below 2^32"),
        (r#"{"message":{"messageId":"1"},"subscription":{}}"#, "expected a string"),
    ] {
        assert_error(error(&[], body), "wrong-shape", says);
    }
    assert_error(error(&JSON, event(r#","id":"e2""#)), "wrong-shape", "duplicate field `id`");
    assert_error(error(&JSON, "[]"), "wrong-shape", "expected a CloudEvent object");
    assert_error(error(&[("content-type", BATCH)], event("")), "wrong-shape", "array of CloudEvents");
    assert_error(error(&[("content-type", BATCH)], "\"text\""), "wrong-shape", "string");
}

#[test]
fn missing_or_empty() {
    assert_error(error(&[], "{}"), "missing-field", "`message`");
    assert_error(error(&[], r#"{"message":null}"#), "missing-field", "`message`");
    assert_error(error(&[], r#"{"message":{}}"#), "missing-field", "`messageId`");
    assert_error(error(&[], r#"{"message":{"messageId":"","message_id":""}}"#), "missing-field", "messageId");
    assert_error(error(&[("x-goog-pubsub-message-id", "")], "x"), "missing-field", "x-goog-pubsub-message-id");
    assert_error(error(&[], event("")), "wrong-content-type", STRUCTURED);
    for name in ["ce-id", "ce-source", "ce-type", "ce-specversion"] {
        let without: Vec<_> = EVENTARC.into_iter().filter(|header| header.0 != name).collect();
        assert_error(error(&without, PUSH), "missing-field", name);
        let empty: Vec<_> = without.into_iter().chain([(name, "")]).collect();
        assert_error(error(&empty, PUSH), "missing-field", name);
    }
    for (member, name) in [
        (r#""specversion":"1.0","#, "`specversion`"),
        (r#""id":"e1","#, "`id`"),
        (r#""source":"/s","#, "`source`"),
        (r#","type":"com.example.made""#, "`type`"),
    ] {
        let value = &member[member.find(':').unwrap()..].trim_end_matches(',');
        for now in ["".to_owned(), member.replace(value, ":null"), member.replace(value, r#":"""#)] {
            let body = event("");
            assert!(body.contains(member));
            assert_error(error(&JSON, body.replace(member, &now)), "missing-field", name);
        }
    }
}

#[test]
fn other_versions_and_formats() {
    for version in ["0.3", "2.0", "1", "1.0 ", "latest"] {
        let mut headers = EVENTARC;
        headers[2].1 = version;
        assert_error(error(&headers, PUSH), "unsupported-specversion", r#"expected "1.0""#);
        let body = event("").replace("1.0", version);
        assert_error(error(&JSON, body), "unsupported-specversion", &format!("{version:?}"));
    }
    for format in [
        "application/cloudevents",
        "application/cloudevents+xml",
        "application/CloudEvents+avro; charset=utf-8",
        "application/cloudevents-batch+protobuf",
    ] {
        let found = error(&[("content-type", format)], event(""));
        assert_error(found, "unsupported-format", "application/cloudevents+json");
    }
    let two = [("content-type", STRUCTURED), ("content-type", BATCH)];
    assert_error(error(&two, "[]"), "duplicate-header", "`content-type`");
}

#[test]
fn duplicate_headers() {
    let (start, _) = requests().pop().unwrap();
    let start = [&start[..], &[("ce-time", "t"), ("ce-subject", "s")]].concat();
    for name in ["id", "source", "type", "specversion", "time", "subject", "task"] {
        let name = format!("ce-{name}");
        let (_, same) = start.iter().find(|header| header.0 == name).unwrap();
        for value in [same, "1.0"] {
            let headers = [&start[..], &[(name.as_str(), value)]].concat();
            assert_error(error(&headers, "x"), "duplicate-header", &name);
        }
    }
    for name in ["message-id", "publish-time", "subscription-name", "ordering-key"] {
        let name = format!("x-goog-pubsub-{name}");
        let headers = [("x-goog-pubsub-message-id", "1"), (&name, "2"), (&name, "2")];
        assert_error(error(&headers, "x"), "duplicate-header", &name);
    }
}

#[test]
fn headers_not_utf8() {
    let (headers, _) = requests().pop().unwrap();
    let mut bytes: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    bytes.push(("ce-note", b"a\xff"));
    let found = decode(&header_map(&bytes), "x".into()).unwrap_err();
    assert_eq!(found, EventError::HeaderNotUtf8 { name: "ce-note".into() });

    let encoded = [&headers[..], &[("ce-note", "a%FF")]].concat();
    assert_error(error(&encoded, "x"), "header-not-utf8", "ce-note");

    let unwrapped = [("x-goog-pubsub-message-id", &b"1"[..]), ("task", b"\xe9"), ("accept", b"\xe9")];
    let found = decode(&header_map(&unwrapped), "x".into()).unwrap_err();
    assert_eq!(found, EventError::HeaderNotUtf8 { name: "task".into() });
    // A header that is not looked at may hold anything.
    let unread = header_map(&[("x-other", &b"\xe9"[..]), ("content-type", b"\xff/x")]);
    assert_eq!(decode(&unread, PUSH.into()), Ok(Incoming::One(pushed())));
}

#[test]
fn wrong_base64() {
    for (text, says) in [
        ("A", "1 digits"),
        ("AAAAA", "5 digits"),
        ("aGl=", "last bits"),
        ("aGl", "last bits"),
        ("AB==", "last bits"),
        ("AB", "last bits"),
        ("AA=", "length of 3"),
        ("AAA==", "length of 5"),
        ("A===", "0x3d at offset 1"),
        ("====", "0x3d"),
        ("=", "length of 1"),
        ("AA==AA==", "0x3d at offset 2"),
        ("AA A", "0x20 at offset 2"),
        (r"AAAA\n", "0x0a at offset 4"),
        ("AAéA", "0xc3 at offset 2"),
        ("+A-A", "both alphabets"),
        ("hello!", "0x21"),
    ] {
        let found = push_error(&format!(r#""data":"{text}""#));
        assert_error(found, "bad-base64", says);
        let found = error(&JSON, event(&format!(r#","data_base64":"{text}""#)));
        assert_error(found, "bad-base64", "`data_base64`");
    }
}

#[test]
fn data_in_both_ways() {
    let found = error(&JSON, event(r#","data":"x","data_base64":"eA==""#));
    assert_error(found, "both-data", "`data` or `data_base64`");
}

#[test]
fn extensions_of_other_kinds() {
    for (value, says) in [("1.5", "a fraction"), ("[1,[2]]", "an array"), (r#"{"a":{}}"#, "an object")] {
        let found = error(&JSON, event(&format!(r#","ext":{value}"#)));
        assert_error(found, "bad-extension", says);
    }
}
