//! The bounds on attributes, texts, batches, and on what an error quotes.

use super::*;

#[test]
fn limits_on_attributes() {
    let pairs = |count: usize| {
        let pairs: Vec<_> = (0..count).map(|n| format!(r#""k{n}":"v""#)).collect();
        pairs.join(",")
    };
    let push = |attributes: &str| format!(r#""attributes":{{{attributes}}}"#);
    let full = format!(r#"{{"message":{{"messageId":"1",{}}}}}"#, push(&pairs(100)));
    assert_eq!(one(&[], full).attributes.len(), 100);
    assert_eq!(one(&JSON, event(&format!(",{}", pairs(100)))).attributes.len(), 100);
    for count in [101, 5_000] {
        assert_error(push_error(&push(&pairs(count))), "too-many-attributes", "at most 100");
        assert_error(error(&JSON, event(&format!(",{}", pairs(count)))), "too-many-attributes", "100");
    }
    for start in [requests().pop().unwrap().0, vec![("x-goog-pubsub-message-id", "1")]] {
        let names: Vec<_> = (0..101).map(|n| format!("ce-k{n}")).collect();
        let more: Vec<_> = names.iter().map(|name| (name.as_str(), "v")).collect();
        let all = [&start[..], &more[..]].concat();
        assert_error(error(&all, "x"), "too-many-attributes", "at most 100");
    }

    let (key, value) = ("k".repeat(256), "é".repeat(512));
    let message = one(&JSON, event(&format!(r#","{key}":"{value}""#)));
    assert_eq!(message.attributes[&key], value);
    assert_error(push_error(&push(&format!(r#""{key}k":"v""#))), "too-long", "256 bytes");
    assert_error(push_error(&push(&format!(r#""k":"{value}v""#))), "too-long", "found 1025");
    assert_error(error(&JSON, event(&format!(r#","k":"{value}v""#))), "too-long", r#"attribute "k""#);
    let overlong = "v".repeat(1025);
    let header = [&requests().pop().unwrap().0[..], &[("ce-k", &*overlong)]].concat();
    assert_error(error(&header, "x"), "too-long", "1024 bytes");

    assert_error(push_error(&push(r#""":"v""#)), "empty-attribute-key", "name");
    assert_error(push_error(&push(r#""a":"1","\u0061":"2""#)), "duplicate-attribute", r#""a" twice"#);
    assert_error(error(&JSON, event(r#","a":"1","a":"1""#)), "duplicate-attribute", "twice");
}

#[test]
fn limits_on_other_texts() {
    let long = "x".repeat(1025);
    for (name, body) in [
        ("messageId", format!(r#"{{"message":{{"messageId":"{long}"}}}}"#)),
        ("publishTime", format!(r#"{{"message":{{"messageId":"1","publishTime":"{long}"}}}}"#)),
        ("orderingKey", format!(r#"{{"message":{{"messageId":"1","orderingKey":"{long}"}}}}"#)),
        ("subscription", format!(r#"{{"message":{{"messageId":"1"}},"subscription":"{long}"}}"#)),
    ] {
        assert_error(error(&[], body), "too-long", name);
    }
    assert_error(error(&JSON, event("").replace("e1", &long)), "too-long", "`id`");
    assert_error(error(&JSON, event(&format!(r#","time":"{long}""#))), "too-long", "`time`");
}

#[test]
fn limit_on_a_batch() {
    let batch = |count: usize| format!("[{}]", vec![event(""); count].join(","));
    assert_eq!(many(batch(1000)).iter().filter(|entry| entry.is_ok()).count(), 1000);
    let headers = [("content-type", BATCH)];
    assert_error(error(&headers, batch(1001)), "too-many-events", "at most 1000");
    assert_error(error(&headers, format!("[{}1]", "1,".repeat(500_000))), "too-many-events", "1000");
    assert_error(error(&headers, format!("[{}", "1,".repeat(500_000))), "not-json", "EOF");
}

#[test]
fn errors_quote_little() {
    let long = "\\u001b\u{7f}x".repeat(300_000);
    for body in [
        long.clone(),
        format!(r#""{long}""#),
        format!(r#"{{"message":"{long}"}}"#),
        format!(r#"{{"message":{{"messageId":"1","data":"{long}"}}}}"#),
        format!(r#"{{"message":{{"messageId":"1","attributes":"{long}"}}}}"#),
        format!(r#"{{"message":{{"messageId":"1","attributes":{{"{long}":"v"}}}}}}"#),
        format!(r#"{{"message":{{"messageId":"{long}"}}}}"#),
        format!(r#"{{"message":{{"messageId":"1"}},"deliveryAttempt":"{long}"}}"#),
        format!(r#"{{"specversion":"{long}"}}"#),
        format!(r#"{{"specversion":"1.0","id":{{"{long}":1}}}}"#),
        format!("[\"{long}\"]"),
    ] {
        for headers in [&[][..], &JSON] {
            error(headers, body.clone());
        }
        if let Ok(Incoming::Batch(entries)) = run(&[("content-type", BATCH)], body) {
            entries.iter().for_each(|entry| assert_presentable(entry.as_ref().unwrap_err()));
        }
    }
    let content_type = format!("application/cloudevents{}", "+x".repeat(2_000));
    error(&[("content-type", &content_type)], "{}");
}
