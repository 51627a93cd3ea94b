//! What a deployment sends for a change, what it regards as no change, and what it does where Google refuses.

use std::time::Duration;

use deploy::cloud::Api;
use reqwest::Method;
use serde_json::{Value, json};
use tests::{Behaviour, Fault, FaultKind, Request};

use super::{Project, counts};

impl Project {
    /// Sends one request by hand.
    fn by_hand(&self, api: Api, method: Method, path: &str, body: Value) -> Value {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let url =
            self.google.url(api, &path.replace("{P}", self.google.project()).replace("{R}", self.google.region()));
        runtime.block_on(async {
            let mut request = reqwest::Client::builder().no_proxy().build().unwrap().request(method, &url);
            if !body.is_null() {
                request = request.json(&body);
            }
            let answer = request.timeout(Duration::from_secs(30)).send().await.unwrap();
            let (status, text) = (answer.status(), answer.text().await.unwrap());
            assert!(status.is_success(), "{url}: {status} {text}");
            serde_json::from_str(&text).unwrap()
        })
    }

    fn get(&self, api: Api, path: &str) -> Value {
        self.by_hand(api, Method::GET, path, Value::Null)
    }

    /// Changes a service by hand, and waits until it is done.
    fn patch_service(&self, mask: &str, body: Value) {
        self.by_hand(Api::Run, Method::PATCH, &format!("{SERVICE}?updateMask={mask}"), body);
        while self.get(Api::Run, SERVICE)["reconciling"] == true {}
    }

    /// The requests that change the service.
    fn patches(&self) -> Vec<Request> {
        let mut requests = self.google.mutations();
        requests.retain(|request| request.api == Api::Run && request.method == "PATCH");
        requests
    }

    fn revisions(&self) -> usize {
        self.get(Api::Run, &format!("{SERVICE}/revisions"))["revisions"].as_array().unwrap().len()
    }
}

const SERVICE: &str = "/v2/projects/{P}/locations/{R}/services/ai-workloads-function";
const TRIGGER: &str = "/v1/projects/{P}/locations/{R}/triggers/ai-workloads-function";

fn mask(request: &Request) -> Vec<String> {
    let mask = request.query.iter().find(|(name, _)| name == "updateMask").map(|(_, value)| value.as_str());
    let mut fields: Vec<String> = mask.unwrap_or_default().split(',').map(str::to_owned).collect();
    fields.sort();
    fields
}

#[test]
fn a_change_outside_the_template_makes_no_revision() {
    let Some(project) = Project::new() else { return };
    let _ = project.deploy("one").ok();
    let revision = project.get(Api::Run, SERVICE)["latestReadyRevision"].clone();
    let pinned = revision.as_str().unwrap().rsplit('/').next().unwrap();
    let traffic = json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": pinned, "percent": 100}]);
    for (field, changed) in [
        ("ingress", json!("INGRESS_TRAFFIC_ALL")),
        ("traffic", traffic),
        ("invokerIamDisabled", json!(true)),
        ("labels", json!({"team": "theirs"})),
    ] {
        project.patch_service(field, json!({ field: changed }));
        project.google.forget_requests();
        let _ = project.deploy("one").ok();
        let [patch] = &project.patches()[..] else { panic!("{field}: {:#?}", project.patches()) };
        assert_eq!(mask(patch), [field]);
        assert_eq!((patch.body.get("template"), patch.status), (None, Some(200)), "{field}: {:#}", patch.body);
        assert_eq!(patch.body.get("launchStage"), None, "what was found goes back: {:#}", patch.body);
        assert_eq!(counts(&project.plan("one")), [0; 4], "{field}");
    }
    let service = project.get(Api::Run, SERVICE);
    assert_eq!((&service["latestReadyRevision"], project.revisions()), (&revision, 1));
    assert_eq!(service["labels"]["team"], "theirs", "a label that is not declared stays");
    project.check();
}

#[test]
fn a_change_of_the_template_has_a_revision_of_its_own_and_no_generation_that_was_found() {
    let Some(project) = Project::new() else { return };
    let _ = project.deploy("one").ok();
    let first = project.get(Api::Run, SERVICE);
    let source = &first["template"]["containers"][0]["sourceCode"]["cloudStorageSource"];
    assert!(source["generation"].is_string(), "{source}");
    assert_eq!(counts(&project.plan("one")), [0; 4]);

    // The template and a label at once, with another archive.
    project.patch_service("labels", json!({"labels": {"team": "theirs"}}));
    project.google.forget_requests();
    let _ = project.deploy("two").ok();
    let [patch] = &project.patches()[..] else { panic!("{:#?}", project.patches()) };
    assert_eq!(mask(patch), ["labels", "template"]);
    let template = &patch.body["template"];
    let revision = template["revision"].as_str().unwrap();
    assert!(!first["latestReadyRevision"].as_str().unwrap().ends_with(revision), "{revision}");
    let source = &template["containers"][0]["sourceCode"]["cloudStorageSource"];
    assert_eq!(source.as_object().unwrap().keys().collect::<Vec<_>>(), ["bucket", "object"]);
    assert_eq!((patch.status, project.revisions()), (Some(200), 2));
    project.check();
}

#[test]
fn names_by_number_are_no_change() {
    let Some(project) = Project::new() else { return };
    let _ = project.deploy("one").ok();
    let number = project.google.project_number();
    let trigger = project.get(Api::Eventarc, TRIGGER);
    for name in [&trigger["transport"]["pubsub"]["topic"], &trigger["serviceAccount"], &trigger["name"]] {
        assert!(name.as_str().unwrap().starts_with(&format!("projects/{number}/")), "{trigger:#}");
    }
    assert!(trigger["destination"]["cloudRun"]["service"].as_str().unwrap().contains(number), "{trigger:#}");
    let plan = project.plan("one");
    assert_eq!(counts(&plan), [0; 4], "{plan:#}");

    // A change of the trigger's own subscription and of the topology is one, and replaces nothing.
    project.edit("max-attempts = 10", "max-attempts = 20");
    let plan = project.plan("one");
    assert_eq!(counts(&plan)[2..], [0, 0], "{plan:#}");
    let _ = project.deploy("one").ok();
    assert_eq!(counts(&project.plan("one")), [0; 4]);
    project.check();
}

#[test]
fn cloud_run_without_capacity_is_waited_for() {
    let behaviour = Behaviour { exhausted: 2, ..Behaviour::default() };
    let Some(project) = Project::start(behaviour) else { return };
    let deployed = project.deploy("one").ok();
    assert!(deployed.stderr.contains("waits for Cloud Run to have capacity"), "{}", deployed.stderr);
    assert!(deployed.stderr.contains("for up to 5m"), "{}", deployed.stderr);
    assert_eq!(counts(&project.plan("one")), [0; 4]);
    project.check();
}

#[test]
fn credentials_without_a_quota_project_are_told_what_to_do() {
    let behaviour = Behaviour { quota_project: false, ..Behaviour::default() };
    let Some(project) = Project::start(behaviour) else { return };
    let help = format!("gcloud auth application-default set-quota-project {}", project.google.project());
    let refused = project.deploy("one").failed(1, &help);
    assert!(refused.stderr.contains("requires a quota project"), "{}", refused.stderr);
    // At once: no call but the first was made.
    assert_eq!(project.google.requests().len(), 1, "{:#?}", project.google.requests());
}

#[test]
fn what_does_not_pass_is_told_at_once_with_what_to_do() {
    let refused = |code, status, message, reason| FaultKind::Refused { code, status, message, reason };
    let launch_stage = "The feature 'Source deploy' is not supported in the declared launch stage on resource s. The \
        launch stage annotation should be specified at least as BETA.";
    let quota = "Max instances must be set to 0 or fewer to set the requested total CPU.\nQuota violated:\n\
        CpuAllocPerProjectRegion requested: 60000 allowed: 20000";
    let billing = "This API method requires billing to be enabled.";
    let domains = "One or more users named in the policy do not belong to a permitted customer.";
    let denied = "Permission 'run.services.create' denied on resource 'services'.";
    for (target, kind, help) in [
        ("/services", refused(400, "FAILED_PRECONDITION", launch_stage, ""), "Preview"),
        ("/services", refused(429, "RESOURCE_EXHAUSTED", quota, ""), "max-instances"),
        ("/services", refused(403, "PERMISSION_DENIED", billing, "BILLING_DISABLED"), "gcloud billing projects link"),
        ("/services", refused(403, "PERMISSION_DENIED", denied, "IAM_PERMISSION_DENIED"), "run.services.create"),
        (":setIamPolicy", refused(400, "FAILED_PRECONDITION", domains, ""), "iam.allowedPolicyMemberDomains"),
    ] {
        let Some(project) = Project::new() else { return };
        project.google.fail(Fault::nth(1, kind).of(Api::Run).on(target));
        let failed = project.deploy("one").failed(1, help);
        assert_eq!(project.google.faults_left(), 0);
        assert!(!failed.stderr.contains(" waits for Cloud Run"), "{}", failed.stderr);
        let refused = project.google.mutations().into_iter().filter(|request| request.fault == Some(kind)).count();
        let tried = |request: &&Request| request.path.contains(target) && request.api == Api::Run;
        let tried = project.google.mutations().iter().filter(tried).count();
        assert_eq!((refused, tried), (1, 1), "{help}");
    }
}

#[test]
fn the_conditions_of_others_survive() {
    let Some(project) = Project::new() else { return };
    let _ = project.deploy("one").ok();
    let bucket = format!("{}-ai-workloads", project.google.project());
    let theirs = json!({
        "role": "roles/viewer", "members": ["user:someone@example.com"],
        "condition": {"title": "theirs", "expression": "request.time < timestamp(\"2030-01-01T00:00:00Z\")"},
    });
    let topic = "/v1/projects/{P}/topics/ai-workloads-dead-letter";
    let get = [
        (Api::Run, format!("{SERVICE}:getIamPolicy?options.requestedPolicyVersion=3")),
        (Api::PubSub, format!("{topic}:getIamPolicy?options.requestedPolicyVersion=3")),
        (Api::Storage, format!("/storage/v1/b/{bucket}/iam?optionsRequestedPolicyVersion=3")),
    ];
    for (api, get) in &get {
        let mut policy = project.get(*api, get);
        // What this deployment granted has to be granted again; a conditional binding that someone else made stays
        // beside it.
        policy["version"] = json!(3);
        policy["bindings"] = json!([theirs]);
        let path = get.split('?').next().unwrap();
        match api {
            Api::Storage => project.by_hand(*api, Method::PUT, path, policy),
            _ => {
                let path = path.replace("getIamPolicy", "setIamPolicy");
                project.by_hand(*api, Method::POST, &path, json!({ "policy": policy }))
            }
        };
    }
    let _ = project.deploy("one").ok();
    for (api, get) in &get {
        let policy = project.get(*api, get);
        let bindings = policy["bindings"].as_array().unwrap();
        assert!(bindings.contains(&theirs) && bindings.len() > 1, "{api:?}: {policy:#}");
    }
    assert_eq!(counts(&project.plan("one")), [0; 4]);
    project.check();
}
