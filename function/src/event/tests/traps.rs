//! What real senders do that naive readers stumble on.

use super::*;
use ::base64::Engine;

fn message(fields: &str) -> Message {
    one(&[], format!(r#"{{"message":{{"messageId":"1",{fields}}}}}"#))
}

#[test]
fn either_spelling_and_both() {
    for fields in [
        r#""messageId":"1","publishTime":"t","orderingKey":"k""#,
        r#""message_id":"1","publish_time":"t","ordering_key":"k""#,
        r#""messageId":"1","message_id":"1","publish_time":"t","publishTime":"t","orderingKey":"k""#,
        r#""messageId":"1","message_id":"2","publishTime":"t","publish_time":"u","orderingKey":"k""#,
        r#""messageId":"","message_id":"1","publishTime":null,"publish_time":"t","ordering_key":"k""#,
    ] {
        let message = one(&[], format!(r#"{{"message":{{{fields}}}}}"#));
        let found = (&*message.id, &*message.time, &*message.ordering_key);
        assert_eq!(found, ("1", "t", "k"), "{fields}");
    }
}

#[test]
fn escaped_json() {
    let message = message(r#""data":"\/\/\/\u002fAA\u003d\u003d","attributes":{"k\u00e9y":"a\/b \ud83d\ude00"}"#);
    assert_eq!(message.data, &[0xff, 0xff, 0xff, 0x00][..]);
    assert_eq!(message.attributes, attributes(&[("kéy", "a/b 😀")]));
}

#[test]
fn data_missing_empty_or_null() {
    for fields in [r#""data":"""#, r#""data":null"#, r#""orderingKey":null"#] {
        assert_eq!(message(fields).data, "", "{fields}");
    }
}

#[test]
fn attributes_missing_empty_or_null() {
    for fields in [r#""attributes":{}"#, r#""attributes":null"#, r#""data":"aGk=""#] {
        assert_eq!(message(fields).attributes, BTreeMap::new(), "{fields}");
    }
    assert_eq!(message(r#""attributes":{"a":""}"#).attributes, attributes(&[("a", "")]));
}

#[test]
fn content_type_with_charset_case_and_blanks() {
    for content_type in [
        "application/cloudevents+json; charset=utf-8",
        "application/cloudevents+json;charset=UTF-8",
        "Application/CloudEvents+JSON ; charset=\"utf-8\"",
        " application/cloudevents+json",
    ] {
        assert_eq!(one(&[("content-type", content_type)], event("")).id, "e1", "{content_type}");
    }
    let batch = run(&[("Content-Type", "APPLICATION/CloudEvents-Batch+JSON; charset=utf-8")], "[]");
    assert_eq!(batch, Ok(Incoming::Batch(vec![])));
    // The format that the content type names goes before headers.
    let headers = [&[("content-type", STRUCTURED)][..], &EVENTARC[..5]].concat();
    assert_eq!(one(&headers, event("")).kind, "com.example.made");
    // A second header that says the same is harmless.
    let twice = [("content-type", "application/json"), ("content-type", "text/plain")];
    assert_eq!(one(&twice, PUSH), pushed());
}

#[test]
fn delivery_attempt() {
    let attempt = |text: &str| {
        one(&[], format!(r#"{{"deliveryAttempt":{text},"message":{{"messageId":"1"}}}}"#)).delivery_attempt
    };
    assert_eq!(attempt("5"), Some(5));
    assert_eq!(attempt("\"5\""), Some(5));
    assert_eq!(attempt("null"), None);
    assert_eq!(attempt("0"), None);
    let snake = r#"{"message":{"messageId":"1"},"delivery_attempt":2}"#;
    assert_eq!(one(&[], snake).delivery_attempt, Some(2));
}

#[test]
fn base64_of_either_alphabet_padded_or_not() {
    let bytes = [0xfb, 0xff, 0xbf, 0xfe];
    for text in ["+/+//g==", "+/+//g", "-_-__g==", "-_-__g"] {
        assert_eq!(message(&format!(r#""data":"{text}""#)).data, &bytes[..], "{text}");
    }
    for length in 0..100_u8 {
        let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37) ^ 0xf7).collect();
        for form in [
            ::base64::engine::general_purpose::STANDARD.encode(&bytes),
            ::base64::engine::general_purpose::STANDARD_NO_PAD.encode(&bytes),
            ::base64::engine::general_purpose::URL_SAFE.encode(&bytes),
            ::base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&bytes),
        ] {
            assert_eq!(message(&format!(r#""data":"{form}""#)).data, bytes, "{form}");
        }
    }
}

#[test]
fn ten_megabytes() {
    let data: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let encoded = ::base64::engine::general_purpose::STANDARD.encode(&data);
    let push = format!(r#"{{"message":{{"data":"{encoded}","messageId":"1"}}}}"#);
    assert!(push.len() > 13_300_000);
    assert!(one(&EVENTARC, push.clone()).data == data);
    assert!(one(&[], push.replace('/', r"\/")).data == data);
    let event = format!(r#"{{"specversion":"1.0","id":"1","source":"{TOPIC}","type":"{PUBSUB_TYPE}","data":{push}}}"#);
    assert!(one(&[("content-type", STRUCTURED)], event).data == data);
}

#[test]
fn payloads_are_shared_with_the_body_when_they_are_most_of_it() {
    let long = "x".repeat(10_000);
    for members in [format!(r#","data":"{long}""#), format!(r#","data":["{long}"]"#)] {
        let body = Bytes::from(event(&members));
        let data = one(&[("content-type", STRUCTURED)], body.clone()).data;
        assert!(body.as_ptr_range().contains(&data.as_ptr()));
    }
    let small = Bytes::from(event(&format!(r#","data":"small","junk":"{}""#, &long[..900])));
    let data = one(&[("content-type", STRUCTURED)], small.clone()).data;
    assert!(!small.as_ptr_range().contains(&data.as_ptr()), "a small payload keeps a large body alive");

    let body = Bytes::from(long);
    let (headers, _) = requests().pop().unwrap();
    assert_eq!(one(&headers, body.clone()).data.as_ptr(), body.as_ptr());
}

#[test]
fn depth_costs_no_stack() {
    let depth = 2_000_000;
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(one(&[], format!(r#"{{"x":{deep},"message":{{"messageId":"1","y":{deep}}}}}"#)).id, "1");
    let data = one(&[("content-type", STRUCTURED)], event(&format!(r#","data":{deep}"#))).data;
    assert_eq!(data.len(), deep.len());
    let objects = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(many(format!("[{objects}]"))[0].as_ref().unwrap_err().code(), "missing-field");
    let headers = [("content-type", STRUCTURED)];
    assert_eq!(error(&headers, event(&format!(r#","ext":{deep}"#))).0, "bad-extension");
    for body in [deep.clone(), format!(r#"{{"message":{deep}}}"#), "[".repeat(depth)] {
        assert_eq!(error(&[], body).0, "wrong-shape");
    }
    assert_eq!(error(&headers, event(&format!(r#","data":{}"#, "[".repeat(depth)))).0, "not-json");
}

#[test]
fn unknown_fields_are_passed_over() {
    let body = r#"{"x":1,"message":{"messageId":"1","y":[{}],"data":"aGk="},"z":"\u00e9","a":null}"#;
    assert_eq!(one(&[], body).data, "hi");
}
