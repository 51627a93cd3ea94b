//! `cloudevents-sdk` as the referee: it writes and we read, and we read what it reads.

use ::base64::Engine;
use cloudevents::{
    AttributesReader, Data, Event, EventBuilder, EventBuilderV10,
    binding::http::to_event,
    event::ExtensionValue,
    message::{BinaryDeserializer, StructuredDeserializer},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Fails unless the message says what the event says.
#[track_caller]
fn assert_agree(message: &Message, event: &Event) {
    assert_eq!(message.id, event.id());
    assert_eq!(&message.source, event.source());
    assert_eq!(message.kind, event.ty());
    let time = (!message.time.is_empty()).then(|| {
        let with_time = EventBuilderV10::from(event.clone()).time(message.time.as_str());
        *with_time.build().unwrap().time().unwrap()
    });
    if message.kind == PUBSUB_TYPE {
        return assert_agree_on_push(message, event.data());
    }
    assert_eq!(time.as_ref(), event.time());
    let extensions: BTreeMap<_, _> = event
        .iter_extensions()
        .map(|(name, value)| match value {
            ExtensionValue::String(text) => (name.to_owned(), text.clone()),
            ExtensionValue::Boolean(value) => (name.to_owned(), value.to_string()),
            ExtensionValue::Integer(value) => (name.to_owned(), value.to_string()),
        })
        .collect();
    assert_eq!(message.attributes, extensions);
    match event.data() {
        None => assert_eq!(message.data, ""),
        Some(Data::Binary(bytes)) => assert_eq!(message.data, bytes),
        Some(Data::String(text)) => assert_eq!(message.data, text),
        // A JSON string as data is the text that it says.
        Some(Data::Json(Value::String(text))) => assert_eq!(message.data, text),
        Some(Data::Json(Value::Null)) => assert_eq!(message.data, ""),
        Some(Data::Json(value)) => {
            assert_eq!(&serde_json::from_slice::<Value>(&message.data).unwrap(), value);
        }
    }
}

#[track_caller]
fn assert_agree_on_push(message: &Message, data: Option<&Data>) {
    let push: Value = match data.cloned() {
        Some(data) => data.try_into().unwrap(),
        None => panic!("no data"),
    };
    let inner = &push["message"];
    let data = inner["data"].as_str().unwrap_or_default();
    assert_eq!(message.data, ::base64::engine::general_purpose::STANDARD.decode(data).unwrap());
    let attributes = inner["attributes"].as_object().cloned().unwrap_or_default();
    assert_eq!(json!(message.attributes), Value::Object(attributes));
    assert_eq!(message.subscription, push["subscription"].as_str().unwrap());
}

/// The event as the SDK sends it in binary mode.
fn in_binary(event: Event) -> (HeaderMap, Bytes) {
    let request: http::Request<Option<Vec<u8>>> =
        BinaryDeserializer::deserialize_binary(event, http::Request::builder()).unwrap();
    let (parts, body) = request.into_parts();
    (parts.headers, body.unwrap_or_default().into())
}

fn in_structured(event: Event) -> (HeaderMap, Bytes) {
    struct Text;
    impl cloudevents::message::StructuredSerializer<Vec<u8>> for Text {
        fn set_structured_event(self, bytes: Vec<u8>) -> cloudevents::message::Result<Vec<u8>> {
            Ok(bytes)
        }
    }
    let body = StructuredDeserializer::deserialize_structured(event, Text).unwrap();
    (header_map(&[("content-type", STRUCTURED)]), body.into())
}

#[track_caller]
fn read(headers: &HeaderMap, body: Bytes) -> Message {
    match decode(headers, body) {
        Ok(Incoming::One(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// Sends the events in every form and reads them.
fn check(events: Vec<Event>) {
    for event in &events {
        for (headers, body) in [in_binary(event.clone()), in_structured(event.clone())] {
            let message = read(&headers, body.clone());
            let theirs = to_event(&headers, body.to_vec()).unwrap();
            assert_agree(&message, &theirs);
            assert_agree(&message, event);
        }
    }
    let entries = many(serde_json::to_vec(&events).unwrap());
    assert_eq!(entries.len(), events.len());
    for (entry, event) in entries.iter().zip(&events) {
        assert_agree(entry.as_ref().unwrap(), event);
    }
}

fn base() -> EventBuilderV10 {
    EventBuilderV10::new().id("e1").source("/s").ty("com.example.made")
}

#[test]
fn pubsub_events_from_the_sdk() {
    let push: Value = serde_json::from_str(PUSH).unwrap();
    let event = EventBuilderV10::new()
        .id("2070443601311540")
        .source(TOPIC)
        .ty(PUBSUB_TYPE)
        .time("2026-11-20T10:11:12.345Z")
        .data("application/json", push)
        .build()
        .unwrap();
    check(vec![event.clone()]);
    let (headers, body) = in_binary(event);
    assert_eq!(read(&headers, body), Message { source: TOPIC.into(), ..pushed() });
}

#[test]
fn other_events_from_the_sdk() {
    let builders = [
        base(),
        base().time("2026-11-20T11:11:12.5+01:00").subject("s"),
        base().data("text/plain", "hé \"\\ \n"),
        base().data("application/octet-stream", vec![0_u8, 255, 10]),
        base().data("application/json", json!({"input": ["a", "é"], "n": 1.5, "x": null})),
        base().data("application/json", json!([])),
        base().data_with_schema("application/json", "http://example.com/s", json!(7)),
        base().extension("task", "embed").extension("n", -7_i64).extension("dry", true),
    ];
    check(builders.into_iter().map(|builder| builder.build().unwrap()).collect());
}

#[test]
fn requests_that_the_sdk_reads_too() {
    let mut compared = 0;
    for (headers, body) in requests() {
        let headers = header_map(&headers);
        match decode(&headers, body.clone().into()).unwrap() {
            Incoming::One(message) => {
                // The SDK knows nothing of bare pushes.
                if let Ok(event) = to_event(&headers, body.into_bytes()) {
                    assert_agree(&message, &event);
                    compared += 1;
                }
            }
            Incoming::Batch(entries) => {
                let events: Vec<Event> = serde_json::from_str(&body).unwrap();
                assert_eq!(entries.len(), events.len());
                for (entry, event) in entries.iter().zip(&events) {
                    assert_agree(entry.as_ref().unwrap(), event);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn both_refuse() {
    let structured = header_map(&[("content-type", STRUCTURED)]);
    for body in [
        event("").replace("1.0", "2.0"),
        event("").replace(r#""id":"e1","#, ""),
        event(r#","data":1,"data_base64":"AA==""#),
        event(r#","data_base64":"?","datacontenttype":"a/b""#),
        event(r#","ext":{}"#),
        event(r#","ext":1.5"#),
        event("")[1..].to_owned(),
        "[]".to_owned(),
    ] {
        assert!(to_event(&structured, body.clone().into_bytes()).is_err(), "{body}");
        assert!(decode(&structured, body.clone().into()).is_err(), "{body}");
    }
}

/// Visible ASCII that the SDK puts into a header as it is, though it means something there.
fn header_text() -> impl Strategy<Value = String> {
    "[!#$&-~][ !#$&-~]{0,19}[!#$&-~]"
}

fn any_data() -> impl Strategy<Value = Option<(&'static str, Data)>> {
    prop_oneof![
        Just(None),
        any::<Vec<u8>>().prop_map(|bytes| Some(("application/octet-stream", Data::Binary(bytes)))),
        any::<String>().prop_map(|text| Some(("text/plain", Data::String(text)))),
        (any::<String>(), any::<i64>())
            .prop_map(|(text, n)| Some(("application/json", Data::Json(json!({ text: [n, {}] }))))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_for_headers(
        id in header_text(), source in header_text(), ty in header_text(),
        extensions in proptest::collection::btree_map("x[a-z0-9]{1,10}", header_text(), 0..5),
        data in any_data(),
    ) {
        let mut builder = EventBuilderV10::new().id(id).source(source).ty(ty);
        for (name, value) in &extensions {
            builder = builder.extension(name, value.as_str());
        }
        if let Some((content_type, data)) = data {
            builder = builder.data(content_type, data);
        }
        check(vec![builder.build().unwrap()]);
    }

    #[test]
    fn events_for_json(
        id in ".{1,20}", source in ".{1,20}", ty in ".{1,20}",
        extensions in proptest::collection::btree_map("x.{1,10}", (".{0,20}", any::<i64>(), any::<bool>()), 0..5),
        data in any_data(),
    ) {
        let mut builder = EventBuilderV10::new().id(id).source(source).ty(ty);
        for (name, (text, number, truth)) in &extensions {
            builder = match number % 3 {
                0 => builder.extension(name, *number),
                1 => builder.extension(name, *truth),
                _ => builder.extension(name, text.as_str()),
            };
        }
        if let Some((content_type, data)) = data {
            builder = builder.data(content_type, data);
        }
        let event = builder.build().unwrap();
        let (headers, body) = in_structured(event.clone());
        assert_agree(&read(&headers, body), &event);
        assert_agree(many(serde_json::to_vec(&[&event]).unwrap())[0].as_ref().unwrap(), &event);
    }
}
