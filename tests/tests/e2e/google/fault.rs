//! What is recorded, and which faults can be injected.

use deploy::cloud::Api::{Eventarc, Iam, PubSub, Run, ServiceUsage, Storage};
use http::Method;
use serde_json::{Value, json};
use tests::{Fault, FaultKind, Request};

use super::{SERVICES, hello, rig};

const TOPIC: &str = "/v1/projects/{P}/topics/work";

#[tokio::test]
async fn requests_are_recorded() {
    let Some(rig) = rig() else { return };
    rig.ok(PubSub, Method::PUT, TOPIC, json!({"labels": {"a": "1"}})).await;
    rig.get(PubSub, &format!("{TOPIC}:getIamPolicy")).await;
    rig.ok(Iam, Method::POST, "/v1/projects/{P}/serviceAccounts", json!({"accountId": "runtime"})).await;
    rig.ok(Run, Method::POST, &format!("{SERVICES}?serviceId=s&validateOnly=true"), hello()).await;
    let (status, _) = rig.refused(Run, Method::GET, &format!("{SERVICES}/s"), Value::Null).await;

    let requests = rig.google.requests();
    assert_eq!(requests.len(), 5);
    let made = Request {
        api: PubSub,
        method: "PUT".to_owned(),
        path: TOPIC.replace("{P}", rig.google.project()),
        query: Vec::new(),
        body: json!({"labels": {"a": "1"}}),
        status: Some(200),
        mutating: true,
        fault: None,
    };
    assert_eq!(requests[0], made);
    assert_eq!(requests[3].query[1], ("validateOnly".to_owned(), "true".to_owned()));
    assert_eq!((requests[4].status, status), (Some(404), 404));
    let paths: Vec<_> = rig.google.mutations().into_iter().map(|request| request.api).collect();
    assert_eq!((paths, rig.google.mutating()), (vec![PubSub, Iam], 2));
    rig.google.forget_requests();
    assert_eq!((rig.google.requests(), rig.google.mutating()), (vec![], 0));
}

#[tokio::test]
async fn what_google_would_not_understand_is_refused_and_noted() {
    let Some(rig) = rig() else { return };
    let wrong = json!({"template": {"containers": [{"image": "scratch", "memory": "1Gi"}]}});
    let (status, why) = rig.refused(Run, Method::POST, &format!("{SERVICES}?serviceId=s"), wrong).await;
    assert!(status == 400 && why.contains("body.template.containers[0].memory: unknown field"), "{status} {why}");
    assert_eq!(rig.refused(PubSub, Method::PUT, TOPIC, json!({"retention": "1s"})).await.0, 400);
    assert_eq!(rig.refused(Storage, Method::GET, "/storage/v1/b?all=1", Value::Null).await.0, 400);
    assert_eq!(rig.refused(Eventarc, Method::GET, "/v1/projects/{P}/triggers", Value::Null).await.0, 400);
    let violations = rig.google.violations();
    assert_eq!(violations.len(), 4, "{violations:?}");
    assert!(violations[0].starts_with("Run: POST /v2/projects/"), "{violations:?}");
    assert_eq!(rig.google.mutating(), 0);
}

#[tokio::test]
async fn the_nth_change_fails_before_it_happened() {
    let Some(rig) = rig() else { return };
    for (kind, expected) in [(FaultKind::Unavailable, 503), (FaultKind::TooMany, 429), (FaultKind::Conflict, 409)] {
        rig.google.fail(Fault::nth(2, kind));
        rig.ok(PubSub, Method::PUT, TOPIC, json!({})).await;
        rig.get(PubSub, TOPIC).await;
        let path = TOPIC.replace("{P}", rig.google.project());
        let answer = rig.client.delete(rig.google.url(PubSub, &path)).send().await.unwrap();
        assert_eq!(answer.status(), expected);
        assert_eq!(answer.headers().contains_key("retry-after"), expected == 429);
        assert_eq!(rig.google.faults_left(), 0);
        rig.get(PubSub, TOPIC).await;
        rig.ok(PubSub, Method::DELETE, TOPIC, Value::Null).await;
        assert_eq!(rig.google.mutations()[1].fault, Some(kind));
        rig.google.forget_requests();
    }
    // Of one API, of one kind of request.
    rig.google.fail(Fault::nth(1, FaultKind::Unavailable).of(Storage));
    rig.google.fail(Fault::nth(1, FaultKind::Unavailable).on("DELETE /v1/projects"));
    rig.ok(PubSub, Method::PUT, TOPIC, json!({})).await;
    assert_eq!(rig.call(Storage, Method::POST, "/storage/v1/b?project={P}", json!({"name": "b"})).await.0, 503);
    assert_eq!(rig.call(PubSub, Method::DELETE, TOPIC, Value::Null).await.0, 503);
    rig.google.fail(Fault::nth(9, FaultKind::Unavailable));
    rig.google.heal();
    assert_eq!(rig.google.faults_left(), 0);
}

#[tokio::test]
async fn a_connection_is_dropped_before_or_after_the_effect() {
    let Some(rig) = rig() else { return };
    let create = format!("{SERVICES}?serviceId=s");
    rig.google.fail(Fault::nth(1, FaultKind::DropBefore));
    assert!(rig.try_call(Run, Method::POST, &create, hello()).await.is_err());
    assert_eq!(rig.refused(Run, Method::GET, &format!("{SERVICES}/s"), Value::Null).await.0, 404);
    rig.google.fail(Fault::nth(1, FaultKind::DropAfter));
    assert!(rig.try_call(Run, Method::POST, &create, hello()).await.is_err());
    rig.get(Run, &format!("{SERVICES}/s")).await;
    assert_eq!(rig.google.mutations().iter().map(|request| request.status).collect::<Vec<_>>(), [None, None]);

    rig.google.fail(Fault::nth(1, FaultKind::DropBefore));
    assert!(rig.try_call(PubSub, Method::PUT, TOPIC, json!({})).await.is_err());
    assert_eq!(rig.call(PubSub, Method::GET, TOPIC, Value::Null).await.0, 404);
    rig.google.fail(Fault::nth(1, FaultKind::DropAfter));
    assert!(rig.try_call(PubSub, Method::PUT, TOPIC, json!({})).await.is_err());
    assert_eq!(rig.call(PubSub, Method::GET, TOPIC, Value::Null).await.0, 200);
}

#[tokio::test]
async fn an_operation_ends_in_an_error() {
    let Some(rig) = rig() else { return };
    rig.google.fail(Fault::nth(1, FaultKind::OperationFails));
    let operation = rig.ok(Run, Method::POST, &format!("{SERVICES}?serviceId=s"), hello()).await;
    let (_, done) = rig.wait(Run, "v2", &operation).await;
    assert!(done["error"]["message"].as_str().unwrap().contains("is not ready"), "{done}");
    let one = format!("{SERVICES}/s");
    let failed = rig.get(Run, &one).await;
    assert_eq!(failed["terminalCondition"]["state"], "CONDITION_FAILED");
    // The same again stays as it is; a new revision serves.
    let operation = rig.ok(Run, Method::PATCH, &one, hello()).await;
    assert!(rig.wait(Run, "v2", &operation).await.1["error"].is_object());
    let operation = rig.ok(Run, Method::PATCH, &format!("{one}?forceNewRevision=true"), hello()).await;
    assert!(rig.wait(Run, "v2", &operation).await.1["response"].is_object());
    assert_eq!(rig.get(Run, &one).await["terminalCondition"]["state"], "CONDITION_SUCCEEDED");

    rig.google.fail(Fault::nth(1, FaultKind::OperationFails).on("DELETE"));
    let operation = rig.ok(Run, Method::DELETE, &one, Value::Null).await;
    assert!(rig.wait(Run, "v2", &operation).await.1["error"].is_object());
    assert_eq!(rig.get(Run, &one).await["deleteTime"], Value::Null);
    rig.google.fail(Fault::nth(1, FaultKind::OperationFails));
    let enable = "/v1/projects/{P}/services/compute.googleapis.com";
    let operation = rig.ok(ServiceUsage, Method::POST, &format!("{enable}:enable"), json!({})).await;
    assert!(rig.wait(ServiceUsage, "v1", &operation).await.1["error"].is_object());
    assert_eq!(rig.get(ServiceUsage, enable).await["state"], "DISABLED");
}

#[tokio::test]
async fn states_compare_without_what_is_drawn() {
    let (Some(one), Some(other)) = (rig(), rig()) else { return };
    for rig in [&one, &other] {
        rig.account("runtime").await;
        rig.service("s", hello()).await;
        rig.google.pubsub().create_topic("work").await;
    }
    let text = |rig: &super::Rig| rig.google.snapshot().to_string().replace(rig.google.project(), "P");
    for part in ["runtime@P", "/services/s", "projects/P/topics/work"] {
        assert!(text(&one).contains(part), "{part}: {}", text(&one));
    }
    assert_eq!(text(&one), text(&other));
    let operation = one.ok(Run, Method::PATCH, &format!("{SERVICES}/s"), json!({"labels": {"a": "1"}})).await;
    one.wait(Run, "v2", &operation).await;
    assert_ne!(text(&one), text(&other));
}
