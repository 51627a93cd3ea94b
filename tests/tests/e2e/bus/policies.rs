//! IAM policies, which are stored with topics, subscriptions and snapshots.

use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use iam::iam_policy_client::IamPolicyClient;
use serde_json::{Value, json};
use tests::{Bus, unique};
use tonic::Code;

use super::channel;

fn policy(role: &str, member: &str, etag: &Value) -> Value {
    let mut policy = json!({"bindings": [{"role": role, "members": [member]}]});
    if !etag.is_null() {
        policy["etag"] = etag.clone();
    }
    json!({ "policy": policy })
}

#[tokio::test]
async fn policies_are_read_changed_and_written() {
    let bus = Bus::shared();
    let id = unique("policies");
    let (topic, subscription) = bus.create_topic_and_subscription(&id).await;
    let snapshot = format!("projects/{}/snapshots/{id}", bus.project());
    assert_eq!(bus.call("PUT", &snapshot, &json!({"subscription": subscription})).await.0, 200);
    for resource in [&topic, &subscription, &snapshot] {
        let (get, set) = (format!("{resource}:getIamPolicy"), format!("{resource}:setIamPolicy"));
        let (status, empty) = bus.call("GET", &get, &Value::Null).await;
        assert_eq!((status, &empty), (200, &json!({"etag": "ACAB"})));
        let member = "serviceAccount:sa@p.iam.gserviceaccount.com";
        let first = policy("roles/pubsub.publisher", member, &empty["etag"]);
        let (status, written) = bus.call("POST", &set, &first).await;
        assert_eq!((status, &written["bindings"]), (200, &first["policy"]["bindings"]), "{written}");
        let get = format!("{get}?options.requestedPolicyVersion=3&alt=json");
        assert_eq!(bus.call("GET", &get, &Value::Null).await, (200, written.clone()));

        // A policy that was read before another writer changed it is not written.
        let stale = policy("roles/pubsub.viewer", "allUsers", &empty["etag"]);
        let (status, refused) = bus.call("POST", &set, &stale).await;
        assert_eq!((status, &refused["error"]["status"]), (409, &json!("ABORTED")));
        let fresh = policy("roles/pubsub.viewer", "allUsers", &written["etag"]);
        let (status, again) = bus.call("POST", &set, &fresh).await;
        assert_eq!((status, &again["bindings"]), (200, &fresh["policy"]["bindings"]));
        assert_ne!(again["etag"], written["etag"]);
        // Without an etag it is written whatever is there.
        assert_eq!(bus.call("POST", &set, &policy("roles/viewer", "user:a@b.c", &Value::Null)).await.0, 200);

        let condition = json!({"expression": "true", "title": "always"});
        let bindings = json!([{"role": "roles/viewer", "members": ["allUsers"], "condition": condition}]);
        let conditional =
            json!({"policy": {"version": 3, "bindings": bindings}, "updateMask": "bindings,etag,version"});
        let (status, kept) = bus.call("POST", &set, &conditional).await;
        assert_eq!((status, &kept["version"], &kept["bindings"]), (200, &json!(3), &bindings), "{kept}");

        let asked = json!({"permissions": ["pubsub.topics.publish", "pubsub.topics.get"]});
        assert_eq!(bus.call("POST", &format!("{resource}:testIamPermissions"), &asked).await, (200, asked));
    }
    // A policy goes with its resource.
    for resource in [&snapshot, &subscription, &topic] {
        assert_eq!(bus.call("DELETE", resource, &json!({})).await.0, 200);
    }
    bus.create_topic(&id).await;
    let (_, empty) = bus.call("GET", &format!("{topic}:getIamPolicy"), &Value::Null).await;
    assert_eq!(empty, json!({"etag": "ACAB"}));
}

#[tokio::test]
async fn what_is_no_policy_is_refused() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("policies")).await;
    let missing = bus.topic_name("missing");
    let conditional = json!({"policy": {"version": 1, "bindings": [
        {"role": "roles/viewer", "members": ["allUsers"], "condition": {"expression": "true"}}]}});
    for (path, body, status, words) in [
        (format!("{missing}:setIamPolicy"), policy("roles/viewer", "allUsers", &Value::Null), 404, "missing"),
        (format!("{topic}:setIamPolicy"), policy("viewer", "allUsers", &Value::Null), 400, "viewer"),
        (format!("{topic}:setIamPolicy"), policy("roles/viewer", "somebody", &Value::Null), 400, "somebody"),
        (format!("{topic}:setIamPolicy"), policy("roles/viewer", "user:", &Value::Null), 400, "user:"),
        (format!("{topic}:setIamPolicy"), json!({}), 400, "needs a policy"),
        (format!("{topic}:setIamPolicy"), json!({"policy": {"version": 2}}), 400, "version=2"),
        (format!("{topic}:setIamPolicy"), conditional, 400, "version 3"),
        (format!("{topic}:setIamPolicy"), json!({"policy": {}, "updateMask": "colour"}), 400, "colour"),
        (format!("{topic}:testIamPermissions"), json!({"permissions": ["pubsub.*"]}), 400, "pubsub.*"),
    ] {
        let (code, refused) = bus.call("POST", &path, &body).await;
        assert_eq!(code, status, "{path} {body}: {refused}");
        assert!(refused["error"]["message"].as_str().unwrap().contains(words), "{refused}");
    }
    assert_eq!(bus.call("GET", &format!("{missing}:getIamPolicy"), &Value::Null).await.0, 404);
    let version = format!("{topic}:getIamPolicy?options.requestedPolicyVersion=4");
    assert_eq!(bus.call("GET", &version, &Value::Null).await.0, 400);
    // Nobody has a permission on what is not there.
    let asked = json!({"permissions": ["pubsub.topics.get"]});
    assert_eq!(bus.call("POST", &format!("{missing}:testIamPermissions"), &asked).await, (200, json!({})));
}

#[tokio::test]
async fn the_iam_service_of_grpc_has_the_same_policies() {
    let bus = Bus::shared();
    let topic = bus.create_topic(&unique("policies")).await;
    let mut client = IamPolicyClient::new(channel(bus).await);
    let get = iam::GetIamPolicyRequest { resource: topic.clone(), options: None };
    let mut policy = client.get_iam_policy(get.clone()).await.unwrap().into_inner();
    let members = vec!["group:a@b.c".into()];
    policy.bindings.push(iam::Binding { role: "roles/pubsub.editor".into(), members, condition: None });
    let set = iam::SetIamPolicyRequest { resource: topic.clone(), policy: Some(policy), update_mask: None };
    let written = client.set_iam_policy(set.clone()).await.unwrap().into_inner();
    assert_eq!(client.get_iam_policy(get).await.unwrap().into_inner(), written);
    let (_, rest) = bus.call("GET", &format!("{topic}:getIamPolicy"), &Value::Null).await;
    assert_eq!(rest["bindings"], json!([{"role": "roles/pubsub.editor", "members": ["group:a@b.c"]}]));
    assert_eq!(client.set_iam_policy(set).await.unwrap_err().code(), Code::Aborted);
    let permissions = vec!["pubsub.topics.delete".to_owned()];
    let test = iam::TestIamPermissionsRequest { resource: topic, permissions: permissions.clone() };
    assert_eq!(client.test_iam_permissions(test).await.unwrap().into_inner().permissions, permissions);
    for (resource, code) in [(bus.topic_name("missing"), Code::NotFound), ("topic".into(), Code::InvalidArgument)] {
        let get = iam::GetIamPolicyRequest { resource, options: None };
        assert_eq!(client.get_iam_policy(get).await.unwrap_err().code(), code);
    }
}
