//! Requests that a web page could send, with the headers that a browser adds to them.

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use pb::publisher_client::PublisherClient;
use serde_json::{Value, json};
use tests::{Bus, unique};
use tonic::Code;
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

use super::channel;

const BODY: &str = r#"{"messages": [{"data": "eA=="}]}"#;

/// A publish over REST with these headers beside its content type.
async fn publish(bus: &Bus, topic: &str, content_type: &str, headers: &[(&str, &str)]) -> (u16, Value, bool) {
    let mut request = reqwest::Client::new().post(format!("http://{}/v1/{topic}:publish", bus.host()));
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(BODY).send().await.unwrap();
    let cors = answer.headers().keys().any(|name| name.as_str().starts_with("access-control-"));
    (answer.status().as_u16(), answer.json().await.unwrap(), cors)
}

#[tokio::test]
async fn a_page_of_a_browser_cannot_publish() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("pages")).await;
    let (json_type, port) = ("application/json", bus.host().rsplit(':').next().unwrap());
    let rebound = format!("attacker.example:{port}");
    let neighbour = format!("http://localhost:{port}");
    for (content_type, headers) in [
        (json_type, vec![("origin", "https://attacker.example")]),
        (json_type, vec![("origin", "null")]),
        (json_type, vec![("origin", "http://127.0.0.1:3000")]),
        (json_type, vec![("origin", &neighbour)]),
        (json_type, vec![("sec-fetch-site", "cross-site")]),
        (json_type, vec![("sec-fetch-site", "same-site")]),
        (json_type, vec![("host", &rebound)]),
        (json_type, vec![("host", "attacker.example")]),
        (json_type, vec![("host", "10.1.2.3:80"), ("origin", "http://10.1.2.3")]),
        (json_type, vec![("host", &rebound), ("origin", "http://attacker.example")]),
        ("text/plain", vec![]),
        ("text/plain;charset=UTF-8", vec![]),
        ("application/x-www-form-urlencoded", vec![]),
        ("multipart/form-data; boundary=x", vec![]),
        ("", vec![("origin", "https://attacker.example")]),
    ] {
        let (status, refused, cors) = publish(bus, &topic, content_type, &headers).await;
        let error = &refused["error"];
        assert_eq!((status, &error["status"]), (403, &json!("PERMISSION_DENIED")), "{content_type} {headers:?}");
        assert!(error["message"].as_str().unwrap().starts_with("expected "), "{refused}");
        assert!(!cors, "{headers:?}");
    }
    assert_eq!(bus.handle().backlog(&subscription), Some(0));
    for (content_type, headers) in [
        (json_type, vec![]),
        ("", vec![]),
        ("application/json; charset=utf-8", vec![("host", "localhost")]),
        (json_type, vec![("host", "[::1]:8085"), ("sec-fetch-site", "none")]),
    ] {
        let (status, answer, cors) = publish(bus, &topic, content_type, &headers).await;
        assert!(status == 200 && !cors, "{content_type} {headers:?}: {answer}");
    }
    assert_eq!(bus.handle().backlog(&subscription), Some(4));
}

#[tokio::test]
async fn every_path_and_method_refuses_a_page() {
    let bus = Bus::shared();
    let (topic, subscription) = bus.create_topic_and_subscription(&unique("paths")).await;
    for (method, path) in [
        ("GET", "/".to_owned()),
        ("GET", "/oauth2/v3/certs".to_owned()),
        ("GET", "/nowhere".to_owned()),
        ("GET", format!("/v1/{topic}")),
        ("OPTIONS", format!("/v1/{topic}:publish")),
        ("POST", format!("/v1/{subscription}:modifyPushConfig")),
        ("POST", format!("/v1/{subscription}:pull")),
        ("PUT", format!("/v1/{topic}-new")),
        ("PATCH", format!("/v1/{topic}")),
        ("DELETE", format!("/v1/{topic}")),
        ("POST", "/google.pubsub.v1.Publisher/Publish".to_owned()),
    ] {
        let url = format!("http://{}{path}", bus.host());
        let request = reqwest::Client::new().request(method.parse().unwrap(), url).body("{}");
        let answer = request.header("origin", "https://attacker.example").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 403, "{method} {path}");
    }
    assert_eq!(bus.call("GET", &topic, &json!({})).await.0, 200);
}

#[tokio::test]
async fn grpc_refuses_a_page_and_what_is_no_grpc() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("pages")).await;
    let address = format!("http://{}", bus.host());
    let publish = || {
        let message = pb::PubsubMessage { data: "x".into(), ..Default::default() };
        tonic::Request::new(pb::PublishRequest { topic: topic.clone(), messages: vec![message] })
    };
    for (name, value) in [("origin", "https://attacker.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")]
    {
        let mut client = PublisherClient::new(channel(bus).await);
        let mut request = publish();
        request.metadata_mut().insert(name, MetadataValue::from_static(value));
        let status = client.publish(request).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{name}: {value}: {status:?}");
    }
    for (authority, is_served) in
        [("http://attacker.example", false), ("http://192.168.1.1:8085", false), ("http://localhost:8085", true)]
    {
        let endpoint = Endpoint::from_shared(address.clone()).unwrap().origin(authority.parse().unwrap());
        let mut client = PublisherClient::new(endpoint.connect().await.unwrap());
        match client.publish(publish()).await {
            Ok(_) => assert!(is_served, "{authority}"),
            Err(status) => assert!(!is_served && status.code() == Code::PermissionDenied, "{authority}: {status:?}"),
        }
    }
    // A page may send any bytes as text.
    let url = format!("{address}/google.pubsub.v1.Publisher/Publish");
    for (content_type, expected) in [("text/plain", 403), ("application/json", 415)] {
        let request = reqwest::Client::new().post(&url).header("content-type", content_type).body("\0\0\0\0\0");
        assert_eq!(request.send().await.unwrap().status().as_u16(), expected, "{content_type}");
    }
}
