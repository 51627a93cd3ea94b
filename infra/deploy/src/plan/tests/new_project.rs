//! What a new project lacks: service agents, secrets, and settings that Google chooses otherwise.

use std::collections::BTreeSet;

use super::*;

#[test]
fn pubsubs_agent_is_made_before_it_is_granted_anything() {
    let plan = plan(&wanted(&shipped()), &State::new("ai-workloads"));
    let agent = "service-123456789@gcp-sa-pubsub.iam.gserviceaccount.com";
    let made = plan.steps.iter().find(|step| step.id.kind == Kind::ServiceAgent).unwrap();
    assert_eq!(made.id.name, "projects/my-project/services/pubsub.googleapis.com");
    let named = plan.steps.iter().filter(|step| matches!(step.id.kind, Kind::Policy(_)));
    let named: Vec<_> = named.filter(|step| step.to_json()["body"]["grants"].to_string().contains(agent)).collect();
    assert!(named.len() >= 4, "{}", plan.text(false));
    for step in named {
        assert!(step.needs.contains(&made.id), "{} does not wait for the agent", step.id);
    }
    // The trigger waits for the grant that lets the agent sign its tokens.
    let trigger = plan.steps.iter().find(|step| step.id.kind == Kind::Trigger).unwrap();
    assert!(trigger.needs.iter().any(|need| need.kind == Kind::Policy(Target::ServiceAccount)), "{:?}", trigger.needs);
}

#[test]
fn an_agent_that_a_policy_names_is_there() {
    let mut state = deployed(&shipped());
    let policy = id(Kind::Policy(Target::TriggerSubscription), "ai-workloads-function");
    state.insert(policy.clone(), json!({"etag": "x"}));
    let plan = plan(&wanted(&shipped()), &state);
    assert_eq!(plan.steps.iter().map(|step| &step.id).collect::<Vec<_>>(), [&policy]);
}

#[test]
fn without_access_control_there_is_no_agent_to_make() {
    let mut state = deployed(&shipped());
    let policies: Vec<Id> = state.ids().filter(|id| matches!(id.kind, Kind::Policy(_))).cloned().collect();
    policies.into_iter().for_each(|id| state.insert(id, no_access_control()));
    assert!(plan(&wanted(&shipped()), &state).is_empty());
}

/// A service that is pushed to by accounts from here and elsewhere, and that reads secrets from here and elsewhere.
const CALLED: &str = r#"
[topics.work]
[subscriptions.own]
topic = "work"
ack-deadline = "10s"
push = { service = "s", service-account = "caller" }
[subscriptions.other]
topic = "work"
push = { endpoint = "https://example.com/", service-account = "x@other-project.iam.gserviceaccount.com" }
[subscriptions.default]
topic = "work"
push = { endpoint = "https://example.com/", service-account = "123456789-compute@developer.gserviceaccount.com" }
[services.s]
timeout = "10s"
service-account = "runner"
secrets = { A = "key", B = "projects/my-project/secrets/key:3", C = "projects/123456789/secrets/key", D = "projects/other/secrets/key" }
[service-accounts.caller]
[service-accounts.runner]
"#;

fn called() -> Vec<Resource> {
    wanted(&Topology::parse(CALLED, "t.toml").unwrap_or_else(|errors| panic!("{errors}")))
}

#[test]
fn tokens_are_for_the_accounts_of_this_project() {
    let wanted = called();
    let accounts = wanted.iter().filter(|resource| resource.id.kind == Kind::Policy(Target::ServiceAccount));
    let names: Vec<&str> = accounts.map(|resource| resource.id.short()).collect();
    assert_eq!(names, ["123456789-compute@developer.gserviceaccount.com", "caller@my-project.iam.gserviceaccount.com"]);
}

#[test]
fn a_secret_is_granted_alone_and_once_whatever_it_is_called() {
    let wanted = called();
    let plan = plan(&wanted, &State::new("ai-workloads"));
    let secrets = plan.steps.iter().filter(|step| step.id.kind == Kind::Policy(Target::Secret));
    let secrets: Vec<_> =
        secrets.map(|step| (step.id.name.as_str(), step.to_json()["body"]["grants"].clone())).collect();
    let runner = "serviceAccount:runner@my-project.iam.gserviceaccount.com";
    let grants = json!({"roles/secretmanager.secretAccessor": [runner]});
    let expected = ["projects/my-project/secrets/key", "projects/other/secrets/key"].map(|name| (name, grants.clone()));
    assert_eq!(secrets, expected);
    let asked: Vec<_> = wanted.iter().filter(|resource| resource.id.kind == Kind::Secret).collect();
    assert_eq!((asked[0].body["versions"].to_string(), asked.len()), (r#"["3","latest"]"#.to_owned(), 2));
    // A deployment creates no secret, and enables the API before it grants one.
    assert!(!plan.steps.iter().any(|step| step.id.kind == Kind::Secret));
    let api = Id::new(Kind::Api, "secretmanager.googleapis.com");
    let granted = plan.steps.iter().find(|step| step.id.kind == Kind::Policy(Target::Secret)).unwrap();
    assert!(granted.needs.contains(&api), "{:?}", granted.needs);
    let service = plan.steps.iter().find(|step| step.id.kind == Kind::Service).unwrap();
    assert!(service.needs.contains(&granted.id), "{:?}", service.needs);
}

#[test]
fn a_revocation_takes_the_roles_of_its_members_alone() {
    let runner = "serviceAccount:runner@my-project.iam.gserviceaccount.com";
    let body = revocation(&BTreeSet::from([runner.to_owned()]));
    let policy = json!({"bindings": [
        {"role": "roles/secretmanager.secretAccessor", "members": [runner, "user:x@example.com"]},
        {"role": "roles/secretmanager.viewer", "members": [runner]},
        {"role": "roles/storage.objectViewer", "members": ["allUsers"]},
    ]});
    let removed = vec![("roles/secretmanager.secretAccessor".to_owned(), runner.to_owned())];
    assert_eq!(additions_and_removals(&body, &policy), (vec![], removed));
}

#[test]
fn deleted_objects_are_kept_only_where_that_is_declared() {
    let kept = |text: &str| {
        let topology = Topology::parse(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let bucket = wanted(&topology).into_iter().find(|resource| resource.id.kind == Kind::Bucket).unwrap();
        bucket.body["softDeletePolicy"]["retentionDurationSeconds"].clone()
    };
    assert_eq!(kept("[archive]\nbucket = \"b-1\"\n"), 0);
    assert_eq!(kept("[archive]\nbucket = \"b-1\"\nsoft-delete = \"7d\"\n"), 604_800);
    let wrong = "[archive]\nbucket = \"b-1\"\nsoft-delete = \"1d\"\n";
    assert!(Topology::parse(wrong, "t.toml").unwrap_err().to_string().contains("7d to 90d"));
    // A bucket that was made with Google's default is changed.
    let drift = drifted(Kind::Bucket, "my-project-ai-workloads", |found| {
        found["softDeletePolicy"]["retentionDurationSeconds"] = json!("604800");
    });
    assert_eq!(drift.counts(), [0, 1, 0, 0], "{}", drift.text(false));
}

#[test]
fn probes_and_processors_are_as_cloud_run_takes_them() {
    let service = |topology: &Topology| {
        let mut all = wanted(topology).into_iter();
        all.find(|resource| resource.id.kind == Kind::Service).unwrap().body["template"]["containers"][0].clone()
    };
    let container = service(&shipped());
    for probe in ["startupProbe", "livenessProbe"] {
        let seconds = |field: &str| container[probe][field].as_u64().unwrap();
        assert!(seconds("periodSeconds") > seconds("timeoutSeconds"), "{container:#}");
    }
    assert!(container["livenessProbe"]["periodSeconds"].as_u64().unwrap() >= 10);
    assert_eq!(container["resources"]["startupCpuBoost"], true);
    let plain = service(&topology("memory = \"512Mi\"\n", "memory = \"512Mi\"\nstartup-cpu-boost = false\n"));
    assert_eq!((&plain["resources"]["startupCpuBoost"], &plain["resources"]["cpuIdle"]), (&json!(false), &json!(true)));
}

/// A service that reads a secret, and the same one without it.
const READER: &str = "[services.s]\ntimeout = \"10s\"\nservice-account = \"runner\"\n[service-accounts.runner]\n";

#[test]
fn a_secret_that_leaves_the_topology_is_revoked_after_the_service_lets_go_of_it() {
    let text = READER.replace("timeout", "secrets = { A = \"key\", B = \"projects/other/secrets/key\" }\ntimeout");
    let [with, without] = [&text, READER].map(|text| Topology::parse(text, "t.toml").unwrap());
    let state = deployed(&with);
    let plan = plan(&wanted(&without), &state);
    let revoked: Vec<&Step> = plan.steps.iter().filter(|step| step.id.kind == Kind::Policy(Target::Secret)).collect();
    let names: Vec<&str> = revoked.iter().map(|step| step.id.name.as_str()).collect();
    assert_eq!(names, ["projects/my-project/secrets/key", "projects/other/secrets/key"], "{}", plan.text(false));
    let service = plan.steps.iter().find(|step| step.id.kind == Kind::Service).unwrap();
    for step in revoked {
        assert!(step.needs.contains(&service.id), "{:?}", step.needs);
        let Action::Update(changes) = &step.action else { panic!("{:?}", step.action) };
        let member = "serviceAccount:runner@my-project.iam.gserviceaccount.com";
        assert_eq!((changes[0].from.as_str(), changes[0].to.is_null(), changes.len()), (Some(member), true, 1));
    }
    // A policy that was not found, or that grants it to others alone, needs no step.
    let mut state = deployed(&with);
    for name in names {
        state.insert(Id::new(Kind::Policy(Target::Secret), name), json!({"etag": "x"}));
    }
    assert!(
        !super::plan(&wanted(&without), &state).steps.iter().any(|step| step.id.kind == Kind::Policy(Target::Secret))
    );
}

#[test]
fn a_caller_of_another_project_is_named() {
    let wanted = called();
    let callers: Vec<_> = unsigned_callers(&wanted).map(|(id, email)| (id.short().to_owned(), email)).collect();
    assert_eq!(callers, [("other".to_owned(), "x@other-project.iam.gserviceaccount.com")]);
}
