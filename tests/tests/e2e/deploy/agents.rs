//! The service agents of a new project: Pub/Sub's, which has to be created and granted, and Eventarc's, which has to
//! be waited for.

use deploy::cloud::Api;
use serde_json::json;
use tests::{Behaviour, Request};

use super::Project;

const IDENTITY: &str = "/services/pubsub.googleapis.com:generateServiceIdentity";
const SIGNS_TOKENS: &str = "roles/iam.serviceAccountOpenIdTokenCreator";

fn created_agent(request: &Request) -> bool {
    request.api == Api::ServiceUsage && request.path.ends_with(IDENTITY)
}

#[test]
fn pubsubs_agent_is_created_before_it_is_granted_and_once() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let agent = format!("service-{}@gcp-sa-pubsub.iam.gserviceaccount.com", project.google.project_number());
    let requests = project.google.mutations();
    let created: Vec<usize> = (0..requests.len()).filter(|at| created_agent(&requests[*at])).collect();
    assert_eq!(created.len(), 1, "{requests:#?}");
    let path = format!("/v1beta1/projects/{}{IDENTITY}", project.google.project_number());
    let request = &requests[created[0]];
    assert_eq!((request.method.as_str(), &request.path, &request.body), ("POST", &path, &json!(null)));
    let granted = requests.iter().position(|request| request.body.to_string().contains(&agent)).unwrap();
    assert!(created[0] < granted, "the agent is granted something before it is created");
    // It signs the tokens of the trigger's account alone.
    let signs = requests.iter().filter(|r| r.status == Some(200) && r.body.to_string().contains(SIGNS_TOKENS));
    let paths: Vec<&str> = signs.map(|request| request.path.rsplit('/').next().unwrap()).collect();
    let account = format!("ai-workloads-trigger@{}.iam.gserviceaccount.com:setIamPolicy", project.google.project());
    assert_eq!(paths, [account]);
    project.check();

    // Nothing to do, nothing sent; a grant that someone took away comes back alone, without its agent.
    project.google.forget_requests();
    assert!(project.deploy("one").ok().stderr.contains("No changes."));
    assert_eq!(project.google.mutations(), []);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let policy = format!(
        "/v1/projects/-/serviceAccounts/ai-workloads-trigger@{}.iam.gserviceaccount.com:setIamPolicy",
        project.google.project()
    );
    let request = reqwest::Client::new().post(project.google.url(Api::Iam, &policy));
    let taken = runtime.block_on(request.json(&json!({"policy": {"bindings": []}})).send()).unwrap();
    assert_eq!(taken.status(), 200);
    assert_eq!(project.google.undeliverable().len(), 1, "{:?}", project.google.undeliverable());
    let plan = project.plan("one");
    assert_eq!(super::counts(&plan), [0, 1, 0, 0], "{plan:#}");
    let _ = project.deploy("one").ok();
    project.check();
    let _ = project.run(&["destroy", "--yes"]).ok();
    assert!(super::empty(&project.google.snapshot()));
}

#[test]
fn accounts_of_pushes_are_granted_too() {
    let Some(project) = Project::new() else {
        return;
    };
    let push = "[subscriptions.ai-workloads-push]\ntopic = \"ai-workloads-topic\"\nack-deadline = \"60s\"\n\
        push = { service = \"ai-workloads-function\", service-account = \"ai-workloads-push\" }\n\n\
        [service-accounts.ai-workloads-push]\n\n[service-accounts.ai-workloads-function]";
    project.edit("[service-accounts.ai-workloads-function]", push);
    let _ = project.deploy("one").ok();
    let account = format!("ai-workloads-push@{}.iam.gserviceaccount.com", project.google.project());
    let policy = format!("policy of projects/{}/serviceAccounts/{account}", project.google.project());
    assert_eq!(project.google.snapshot()[policy]["bindings"][0]["role"], SIGNS_TOKENS);
    project.check();
}

#[test]
fn eventarcs_agent_is_waited_for_when_nothing_else_is_left_to_do() {
    let Some(project) = Project::new() else {
        return;
    };
    let first = project.deploy("one").ok();
    // Refused three times, in three forms, and said once: who waits for what, and for how long.
    let lines: Vec<&str> = first.stderr.lines().filter(|line| line.contains("Eventarc's service agent")).collect();
    assert_eq!(lines.len(), 1, "{}", first.stderr);
    for words in ["trigger ai-workloads-function waits for", "for up to 10m"] {
        assert!(lines[0].contains(words), "{}", lines[0]);
    }
    let triggers = project.google.mutations();
    let triggers: Vec<_> = triggers.iter().filter(|request| request.path.ends_with("/triggers")).collect();
    assert!(triggers.len() >= 4, "{triggers:#?}");
    project.check();
}

#[test]
fn the_trigger_alone_waits_for_eventarcs_agent() {
    let Some(project) = Project::start(Behaviour { eventarc_lag: 0, ..Behaviour::default() }) else {
        return;
    };
    let _ = project.deploy("one").ok();
    // Only the trigger is missing, so nothing that it needs is part of the plan.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let location = format!("/v1/projects/{}/locations/{}", project.google.project(), project.google.region());
    let trigger = project.google.url(Api::Eventarc, &format!("{location}/triggers/ai-workloads-function"));
    let client = reqwest::Client::new();
    runtime.block_on(async {
        assert_eq!(client.delete(&trigger).send().await.unwrap().status(), 200);
        while client.get(&trigger).send().await.unwrap().status() == 200 {}
    });
    project.google.refuse_triggers(2);
    let again = project.deploy("one").ok();
    assert!(again.stderr.contains("waits for Eventarc's service agent"), "{}", again.stderr);
    project.check();
}

#[test]
fn an_old_project_is_deployed_to_without_waiting() {
    let Some(project) = Project::start(Behaviour::old_project()) else {
        return;
    };
    let deployed = project.deploy("one").ok();
    assert!(!deployed.stderr.contains("Eventarc's service agent"), "{}", deployed.stderr);
    assert!(project.deploy("one").ok().stderr.contains("No changes."));
    project.check();
}
