//! Service accounts and IAM policies.

use deploy::cloud::Api;
use deploy::cloud::Api::{Iam, Run};
use http::Method;
use serde_json::{Value, json};
use tests::Behaviour;

use super::{SERVICES, hello, rig, rig_as};

const ACCOUNTS: &str = "/v1/projects/{P}/serviceAccounts";

fn policy(member: &str, etag: &Value) -> Value {
    json!({"policy": {"etag": etag, "bindings": [{"role": "roles/run.invoker", "members": [member]}]}})
}

#[tokio::test]
async fn accounts_are_made_listed_changed_and_deleted() {
    let Some(rig) = rig() else { return };
    let body = json!({"accountId": "runtime", "serviceAccount": {"displayName": "Runs it"}});
    let made = rig.ok(Iam, Method::POST, ACCOUNTS, body.clone()).await;
    assert_eq!(made["email"], format!("runtime@{}.iam.gserviceaccount.com", rig.google.project()));
    assert_eq!(rig.refused(Iam, Method::POST, ACCOUNTS, body).await.0, 409);
    assert_eq!(rig.refused(Iam, Method::POST, ACCOUNTS, json!({"accountId": "short"})).await.0, 400);
    let one = format!("/v1/projects/-/serviceAccounts/{}", made["email"].as_str().unwrap());
    assert_eq!(rig.get(Iam, &one).await["displayName"], "Runs it");
    assert_eq!(rig.get(Iam, ACCOUNTS).await["accounts"][0]["email"], made["email"]);
    let patch = json!({"serviceAccount": {"displayName": "x", "description": "y"}, "updateMask": "description"});
    let patched = rig.ok(Iam, Method::PATCH, &one, patch).await;
    assert_eq!((&patched["displayName"], &patched["description"]), (&json!("Runs it"), &json!("y")));

    let member = format!("serviceAccount:{}", made["email"].as_str().unwrap());
    let never = rig.ok(Iam, Method::POST, &format!("{one}:getIamPolicy"), json!({})).await;
    let set = rig.ok(Iam, Method::POST, &format!("{one}:setIamPolicy"), policy(&member, &never["etag"])).await;
    assert_eq!(rig.ok(Iam, Method::POST, &format!("{one}:getIamPolicy"), json!({})).await, set);

    rig.service("s", hello()).await;
    let service = format!("{SERVICES}/s");
    rig.ok(Run, Method::POST, &format!("{service}:setIamPolicy"), policy(&member, &Value::Null)).await;
    rig.ok(Iam, Method::DELETE, &one, Value::Null).await;
    assert_eq!(rig.refused(Iam, Method::GET, &one, Value::Null).await.0, 404);
    let left = rig.get(Run, &format!("{service}:getIamPolicy")).await;
    assert!(left["bindings"][0]["members"][0].as_str().unwrap().starts_with("deleted:serviceAccount:runtime@"));
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_new_account_cannot_be_used_at_once() {
    let Some(rig) = rig_as(Behaviour { enabled: Api::ALL.to_vec(), ..Behaviour::default() }) else { return };
    rig.service("s", hello()).await;
    let set = format!("{SERVICES}/s:setIamPolicy");
    let email = rig.account("invoker").await;
    let body = policy(&format!("serviceAccount:{email}"), &Value::Null);
    for _ in 0..2 {
        let (status, why) = rig.refused(Run, Method::POST, &set, body.clone()).await;
        assert_eq!((status, why), (400, format!("INVALID_ARGUMENT Service account {email} does not exist.")));
    }
    rig.ok(Run, Method::POST, &set, body).await;

    let mut service = hello();
    service["template"]["serviceAccount"] = json!(rig.account("runtime").await);
    let create = format!("{SERVICES}?serviceId=t");
    assert_eq!(rig.refused(Run, Method::POST, &create, service.clone()).await.0, 403);
    assert_eq!(rig.refused(Run, Method::POST, &create, service.clone()).await.0, 403);
    rig.ok(Run, Method::POST, &create, service).await;
}

#[tokio::test]
async fn a_policy_is_written_only_over_the_one_that_was_read_and_goes_with_its_resource() {
    let Some(rig) = rig() else { return };
    rig.service("s", hello()).await;
    let (get, set) = (format!("{SERVICES}/s:getIamPolicy"), format!("{SERVICES}/s:setIamPolicy"));
    let never = rig.get(Run, &get).await;
    assert_eq!(never["bindings"], Value::Null);
    let first = rig.ok(Run, Method::POST, &set, policy("user:a@example.com", &never["etag"])).await;
    let (status, why) = rig.refused(Run, Method::POST, &set, policy("allUsers", &never["etag"])).await;
    assert!(status == 409 && why.starts_with("ABORTED"), "{status} {why}");
    assert_eq!(rig.get(Run, &get).await, first);
    let agent = format!("serviceAccount:service-{}@gcp-sa-pubsub.iam.gserviceaccount.com", rig.google.project_number());
    rig.ok(Run, Method::POST, &set, policy(&agent, &first["etag"])).await;
    for wrong in ["serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com", "somebody"] {
        assert_eq!(rig.refused(Run, Method::POST, &set, policy(wrong, &Value::Null)).await.0, 400);
    }

    let operation = rig.ok(Run, Method::DELETE, &format!("{SERVICES}/s"), Value::Null).await;
    rig.wait(Run, "v2", &operation).await;
    rig.service("s", hello()).await;
    assert_eq!(rig.get(Run, &get).await, never);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_condition_is_read_and_written_at_version_3() {
    let Some(rig) = rig() else { return };
    rig.service("s", hello()).await;
    let (get, set) = (format!("{SERVICES}/s:getIamPolicy"), format!("{SERVICES}/s:setIamPolicy"));
    let conditional = json!({
        "role": "roles/run.invoker", "members": ["user:a@example.com"],
        "condition": {"title": "t", "expression": "true"},
    });
    let first = json!({"policy": {"version": 1, "bindings": [conditional]}});
    assert_eq!(rig.refused(Run, Method::POST, &set, first).await.0, 400);
    let third = json!({"policy": {"version": 3, "bindings": [conditional]}});
    rig.ok(Run, Method::POST, &set, third).await;

    // A reader that does not ask for version 3 sees no condition, and cannot write what it saw.
    let seen = rig.get(Run, &get).await;
    assert_eq!((&seen["version"], &seen["bindings"][0]["condition"]), (&json!(1), &Value::Null));
    let role = seen["bindings"][0]["role"].as_str().unwrap();
    assert!(role.starts_with("roles/run.invoker_withcond_"), "{role}");
    let (status, why) = rig.refused(Run, Method::POST, &set, json!({"policy": seen})).await;
    assert!(status == 400 && why.contains("version"), "{status} {why}");
    let whole = rig.get(Run, &format!("{get}?options.requestedPolicyVersion=3")).await;
    assert_eq!(whole["bindings"], json!([conditional]));
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}
