//! Cloud Run.

use deploy::cloud::Api::Run;
use http::Method;
use serde_json::{Value, json};
use tests::{Storage, unique};

use super::{SERVICES, hello, rig};

#[tokio::test]
async fn a_service_is_ready_when_its_operation_is_done_and_has_what_the_server_fills_in() {
    let Some(rig) = rig() else { return };
    let one = format!("{SERVICES}/hello");
    let operation = rig.ok(Run, Method::POST, &format!("{SERVICES}?serviceId=hello"), hello()).await;
    assert!(operation["name"].as_str().unwrap().contains("/locations/europe-west1/operations/"), "{operation}");
    assert_eq!(operation["metadata"]["@type"], "type.googleapis.com/google.cloud.run.v2.Service");
    assert_eq!(operation["metadata"]["reconciling"], true);

    // The first read: still running. The second: done.
    let early = rig.get(Run, &one).await;
    assert_eq!((&early["reconciling"], &early["latestReadyRevision"]), (&json!(true), &Value::Null));
    let (polls, done) = rig.wait(Run, "v2", &operation).await;
    assert_eq!(polls, 1);
    let service = rig.get(Run, &one).await;
    assert_eq!(done["response"]["uri"], service["uri"]);
    let template = &service["template"];
    assert_eq!(template["timeout"], "300s");
    assert_eq!(template["maxInstanceRequestConcurrency"], 80);
    assert_eq!(template["containers"][0]["ports"][0]["containerPort"], 8080);
    assert_eq!(template["containers"][0]["resources"]["limits"], json!({"cpu": "1000m", "memory": "512Mi"}));
    assert_eq!(service["traffic"], json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]));
    assert_eq!(service["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    assert_eq!((&service["generation"], &service["observedGeneration"]), (&json!("1"), &json!("1")));
    for drawn in ["uid", "etag", "createTime", "latestReadyRevision"] {
        assert!(service[drawn].is_string(), "{drawn}: {service}");
    }
    let revision = rig.get(Run, &format!("/v2/{}", service["latestReadyRevision"].as_str().unwrap())).await;
    assert_eq!((&revision["service"], &revision["timeout"]), (&json!("hello"), &json!("300s")));

    assert_eq!(rig.refused(Run, Method::POST, &format!("{SERVICES}?serviceId=hello"), hello()).await.0, 409);
    assert_eq!(rig.refused(Run, Method::POST, &format!("{SERVICES}?serviceId=Hello"), hello()).await.0, 400);
    assert_eq!(rig.refused(Run, Method::GET, &format!("{SERVICES}/other"), Value::Null).await.0, 404);
    let wait = format!("/v2/{}:wait", operation["name"].as_str().unwrap());
    assert_eq!(rig.ok(Run, Method::POST, &wait, json!({"timeout": "1s"})).await["done"], true);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_change_makes_a_revision_whose_name_is_used_once() {
    let Some(rig) = rig() else { return };
    let mut service = hello();
    service["template"]["revision"] = json!("s-one");
    service["labels"] = json!({"a": "1", "b": "2"});
    let first = rig.service("s", service).await;
    let one = format!("{SERVICES}/s");
    let patch = async |query: &str, body: Value| {
        let operation = rig.ok(Run, Method::PATCH, &format!("{one}{query}"), body).await;
        rig.wait(Run, "v2", &operation).await.1["response"].clone()
    };

    // A mask names what is set or removed; the rest stays.
    let labelled = patch("?updateMask=labels", json!({"labels": {"a": "3"}, "ingress": "INGRESS_TRAFFIC_NONE"})).await;
    assert_eq!((&labelled["labels"], &labelled["ingress"]), (&json!({"a": "3"}), &json!("INGRESS_TRAFFIC_ALL")));
    assert_eq!(labelled["latestReadyRevision"], first["latestReadyRevision"]);
    assert_eq!(labelled["generation"], "2");
    // Without one, the given fields replace; a template that names its revision is refused, even if it is as it was.
    let whole = json!({"ingress": 2, "template": first["template"]});
    let (status, why) = rig.refused(Run, Method::PATCH, &one, whole.clone()).await;
    assert!(status == 409 && why.contains("different configuration already exists"), "{status} {why}");
    let masked = format!("{one}?updateMask=ingress,template");
    assert_eq!(rig.refused(Run, Method::PATCH, &masked, whole).await.0, 409);
    let closed = patch("", json!({"ingress": 2})).await;
    assert_eq!((&closed["labels"], &closed["ingress"]), (&json!({"a": "3"}), &json!("INGRESS_TRAFFIC_INTERNAL_ONLY")));
    // Nothing is changed: no generation.
    assert_eq!(patch("?updateMask=ingress", json!({"ingress": 2})).await["generation"], closed["generation"]);
    // False and zero are absent.
    let none = patch("?updateMask=invokerIamDisabled", json!({"invokerIamDisabled": false})).await;
    assert_eq!((&none["invokerIamDisabled"], &none["etag"]), (&Value::Null, &closed["etag"]));

    let deep = "?updateMask=template.max_instance_request_concurrency";
    let other = json!({"template": {"maxInstanceRequestConcurrency": 8}});
    let (status, why) = rig.refused(Run, Method::PATCH, &format!("{one}{deep}"), other.clone()).await;
    assert!(status == 409 && why.contains("different configuration already exists"), "{status} {why}");
    let mut named = other;
    named["template"]["revision"] = json!("s-two");
    let second = patch(&format!("{deep},template.revision"), named).await;
    assert!(second["latestReadyRevision"].as_str().unwrap().ends_with("/revisions/s-two"));
    assert_eq!(second["template"]["timeout"], "300s");
    let revisions = rig.get(Run, &format!("{one}/revisions?pageSize=1")).await;
    assert_eq!(revisions["revisions"][0]["name"], second["latestReadyRevision"]);
    let token = revisions["nextPageToken"].as_str().unwrap();
    let rest = rig.get(Run, &format!("{one}/revisions?pageSize=1&pageToken={token}")).await;
    assert_eq!(rest["revisions"][0]["name"], first["latestReadyRevision"]);
    assert_eq!(rest["nextPageToken"], Value::Null);

    // Traffic to an earlier revision, and to none.
    let to = |revision: &str| json!({"traffic": [{"type": 2, "revision": revision, "percent": 100}]});
    assert_eq!(patch("?updateMask=traffic", to("s-one")).await["trafficStatuses"][0]["revision"], "s-one");
    assert_eq!(rig.refused(Run, Method::PATCH, &format!("{one}?updateMask=traffic"), to("s-three")).await.0, 400);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn what_a_service_refers_to_is_there() {
    let Some(rig) = rig() else { return };
    let create = format!("{SERVICES}?serviceId=s");
    let mut service = hello();
    service["template"]["serviceAccount"] = json!("nobody@example.iam.gserviceaccount.com");
    let (status, why) = rig.refused(Run, Method::POST, &create, service.clone()).await;
    assert!(status == 403 && why.contains("actAs"), "{status} {why}");
    service["template"]["serviceAccount"] = json!(rig.account("runtime").await);

    let (storage, bucket) = (Storage::shared().unwrap(), unique("run-archives"));
    storage.create_bucket(&bucket).await;
    let source = json!({"cloudStorageSource": {"bucket": bucket, "object": "a/b.zip"}});
    service["template"]["containers"][0]["sourceCode"] = source;
    let (status, why) = rig.refused(Run, Method::POST, &create, service.clone()).await;
    assert!(status == 400 && why.contains("a/b.zip"), "{status} {why}");
    storage.write(&bucket, "a/b.zip", tests::tar_gz(&[("main", b"archive", 0o755)])).await;

    // It is made from this generation of the object, and from no other.
    let mut other = service.clone();
    other["template"]["containers"][0]["sourceCode"]["cloudStorageSource"]["generation"] = json!("1");
    let (status, why) = rig.refused(Run, Method::POST, &create, other).await;
    assert!(status == 400 && why.contains("#1 was not found"), "{status} {why}");

    // A dry run says yes and makes nothing.
    let dry = rig.ok(Run, Method::POST, &format!("{create}&validateOnly=true"), service.clone()).await;
    assert_eq!((&dry["done"], &dry["response"]["template"]["timeout"]), (&json!(true), &json!("300s")));
    assert_eq!(rig.get(Run, SERVICES).await, json!({}));
    let made = rig.service("s", service).await;
    assert_eq!(made["terminalCondition"]["state"], "CONDITION_SUCCEEDED");
    let source = &made["template"]["containers"][0]["sourceCode"]["cloudStorageSource"];
    assert!(source["generation"].as_str().is_some_and(|generation| generation.len() > 1), "{source}");
    assert!(rig.google.mutations().iter().all(|request| request.query.len() < 2), "{:?}", rig.google.mutations());
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

/// The content of an archive decides, and not its name: all of these are named `.tar.gz`.
#[tokio::test]
async fn a_revision_is_made_from_a_gzipped_tar_alone() {
    let Some(rig) = rig() else { return };
    let (storage, bucket) = (Storage::shared().unwrap(), unique("run-archives"));
    storage.create_bucket(&bucket).await;
    let good: [(&str, &[u8], u32); 1] = [("main", b"archive", 0o755)];
    let half = tests::tar_gz(&good);
    for (index, (archive, fault)) in [
        (tests::tar_gz(&good), ""),
        (half[..half.len() - 4].to_vec(), "no gzipped tar"),
        (tests::zip(&good), "no gzipped tar"),
        (b"PK\x03\x04one".to_vec(), "no gzipped tar"),
        (tests::tar_gz(&[("main", b"archive", 0o644)]), "`main` in it has mode 0644"),
        (tests::tar_gz(&[("bin/main", b"archive", 0o755)]), "no regular file `main`"),
    ]
    .into_iter()
    .enumerate()
    {
        let object = format!("{index}.tar.gz");
        storage.write(&bucket, &object, archive).await;
        let mut service = hello();
        service["template"]["containers"][0]["sourceCode"] =
            json!({"cloudStorageSource": {"bucket": bucket, "object": object}});
        let made = rig.ok(Run, Method::POST, &format!("{SERVICES}?serviceId=s{index}"), service).await;
        let (_, done) = rig.wait(Run, "v2", &made).await;
        let message = done["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(message.is_empty(), fault.is_empty(), "{done}");
        assert!(message.contains(fault), "{fault}: {done}");
    }
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn etags_and_deletion() {
    let Some(rig) = rig() else { return };
    let one = format!("{SERVICES}/s");
    let body = json!({"etag": "\"other\"", "labels": {"a": "1"}, "template": hello()["template"]});
    let operation = rig.ok(Run, Method::PATCH, &format!("{one}?allowMissing=true"), body.clone()).await;
    let made = rig.wait(Run, "v2", &operation).await.1["response"].clone();
    let (status, why) = rig.refused(Run, Method::PATCH, &one, body).await;
    assert!(status == 409 && why.starts_with("ABORTED"), "{status} {why}");
    let etag = made["etag"].as_str().unwrap();
    rig.ok(Run, Method::PATCH, &one, json!({"etag": etag, "labels": {"a": "2"}})).await;
    assert_eq!(rig.refused(Run, Method::PATCH, &one, json!({"etag": etag, "labels": {"a": "3"}})).await.0, 409);

    let stale = format!("{one}?etag={}", etag.replace('"', "%22"));
    assert_eq!(rig.refused(Run, Method::DELETE, &stale, Value::Null).await.0, 409);
    let operation = rig.ok(Run, Method::DELETE, &one, Value::Null).await;
    assert!(rig.get(Run, &one).await["deleteTime"].is_string());
    rig.wait(Run, "v2", &operation).await;
    assert_eq!(rig.refused(Run, Method::GET, &one, Value::Null).await.0, 404);
    assert_eq!(rig.get(Run, SERVICES).await, json!({}));
}
