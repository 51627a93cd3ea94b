mod new_project;

use insta::assert_snapshot;
use serde_json::json;

use super::policy::binding;
use super::*;
use crate::resources::{Archive, Context, DEPLOYMENT_LABEL, declared, revocation, unsigned_callers};
use infra::topology::{ArchiveFormat, Topology};

/// The shipped topology with `from` replaced by `to`.
fn topology(from: &str, to: &str) -> Topology {
    let text = include_str!("../../../topology.toml");
    assert!(text.contains(from), "the shipped topology no longer says {from}");
    Topology::parse(&text.replacen(from, to, 1), "topology.toml").unwrap_or_else(|errors| panic!("{errors}"))
}

fn shipped() -> Topology {
    Topology::shipped().unwrap()
}

fn context(digest: char) -> Context {
    Context {
        project: "my-project".to_owned(),
        number: "123456789".to_owned(),
        region: "europe-west1".to_owned(),
        archive: Some(Archive { sha256: digest.to_string().repeat(64), format: ArchiveFormat::TarGz }),
    }
}

fn wanted(topology: &Topology) -> Vec<Resource> {
    declared(topology, &context('a'))
}

/// What Google shows of a topology that was deployed: what was sent, what the server fills in, and what only it knows.
fn deployed(topology: &Topology) -> State {
    let mut state = State::new(&topology.name);
    for resource in wanted(topology) {
        let defaults = match resource.id.kind {
            Kind::Policy(_) => {
                let grants = resource.body["grants"].as_object().unwrap();
                let bindings = grants.iter().map(|(role, members)| {
                    let mut binding = binding(role);
                    binding["members"] = members.clone();
                    binding
                });
                let policy = json!({"etag": "BwX", "version": 1, "bindings": bindings.collect::<Vec<_>>()});
                state.insert(resource.id.clone(), policy);
                continue;
            }
            Kind::Topic => json!({"name": resource.id.name, "state": 1}),
            Kind::Subscription | Kind::TriggerSubscription => json!({
                "name": resource.id.name, "state": 1, "ackDeadlineSeconds": 10, "messageRetentionDuration": "604800s",
                "expirationPolicy": {"ttl": "2678400s"}, "pushConfig": {},
            }),
            Kind::Service => json!({
                "name": resource.id.name, "uid": "u", "generation": "7", "etag": "\"e\"", "uri": "https://x.run.app",
                "launchStage": 4, "template": {"timeout": "300s", "maxInstanceRequestConcurrency": 80},
                "terminalCondition": {"state": "CONDITION_SUCCEEDED"},
            }),
            Kind::Trigger => json!({
                "name": resource.id.name, "uid": "u", "etag": "e",
                "transport": {"pubsub": {"subscription": "projects/my-project/subscriptions/eventarc-europe-west1-x"}},
            }),
            _ => json!({"name": resource.id.name}),
        };
        let sent = merged(&resource.creation, &resource.body);
        let mut found = merged(&defaults, &sent);
        if resource.id.kind == Kind::Service {
            let container = &mut found["template"]["containers"][0];
            container["ports"] = json!([{"name": "http1", "containerPort": 8080}]);
            container["startupProbe"]["httpGet"]["port"] = json!(8080);
            container["baseImageUri"] =
                json!("europe-west1-docker.pkg.dev/serverless-runtimes/google-24/runtimes/osonly24");
        }
        // JSON leaves out what is empty or false.
        if let Some(fields) = found.as_object_mut() {
            fields
                .retain(|key, value| !(*value == json!("") || *value == json!(false) || key == "state" && *value == 0));
        }
        state.insert(resource.id.clone(), found);
    }
    state
}

fn id(kind: Kind, short: &str) -> Id {
    wanted(&shipped())
        .into_iter()
        .map(|resource| resource.id)
        .find(|id| id.kind == kind && id.short() == short)
        .unwrap()
}

/// The plan for the shipped topology when something was changed by hand.
fn drifted(kind: Kind, short: &str, change: impl FnOnce(&mut Value)) -> Plan {
    let mut state = deployed(&shipped());
    let id = id(kind, short);
    let mut found = state.get(&id).unwrap().clone();
    change(&mut found);
    state.insert(id, found);
    plan(&wanted(&shipped()), &state)
}

#[test]
fn in_an_empty_project_everything_is_made_after_what_it_needs() {
    let plan = plan(&wanted(&shipped()), &State::new("ai-workloads"));
    assert_snapshot!(plan.text(false));
    for (index, step) in plan.steps.iter().enumerate() {
        for need in &step.needs {
            let place = plan.steps.iter().position(|other| other.id == *need).unwrap();
            assert!(place < index, "{} needs {need}, which comes later", step.id);
        }
    }
    let service = plan.steps.iter().find(|step| step.id.kind == Kind::Service).unwrap();
    assert_snapshot!(serde_json::to_string_pretty(&service.to_json()).unwrap());
}

#[test]
fn what_was_deployed_as_declared_is_no_change() {
    let topology = shipped();
    let plan = plan(&wanted(&topology), &deployed(&topology));
    assert!(plan.is_empty(), "{}", plan.text(false));
    assert_eq!(plan.unchanged, wanted(&topology).len());
    assert_snapshot!(plan.text(false));
}

#[test]
fn a_bucket_from_elsewhere_needs_its_api_too() {
    let text = "[services.s]\ntimeout = \"10s\"\nservice-account = \"runner\"\nresults = [\"gs://elsewhere/\"]\n[service-accounts.runner]\n";
    let topology = Topology::parse(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}"));
    let wanted = wanted(&topology);
    for resource in &wanted {
        let needs = resource.needs.iter().filter(|need| need.kind == Kind::Api);
        for need in needs {
            assert!(wanted.iter().any(|other| other.id == *need), "{} needs {need}, which nobody enables", resource.id);
        }
    }
    assert!(plan(&wanted, &deployed(&topology)).is_empty());
}

#[test]
fn a_changed_declaration_changes_that_field_alone() {
    let changed = topology("max-instances = 10", "max-instances = 20");
    assert_snapshot!(plan(&wanted(&changed), &deployed(&shipped())).text(false));
    let changed = topology("max-attempts = 10", "max-attempts = 20");
    assert_snapshot!(plan(&wanted(&changed), &deployed(&shipped())).text(false));
}

#[test]
fn a_field_that_is_not_declared_is_not_touched() {
    let changed = topology("memory = \"512Mi\"\n", "");
    assert!(plan(&wanted(&changed), &deployed(&shipped())).is_empty());
}

#[test]
fn an_archive_is_named_by_its_content_and_form() {
    for (format, end) in [(ArchiveFormat::TarGz, "tar.gz"), (ArchiveFormat::Zip, "zip")] {
        let archive = Archive { sha256: "ab12".repeat(16), format };
        assert_eq!(archive.object(), format!("archives/{}.{end}", archive.sha256));
        for name in [archive.object(), archive.file_name(), format!("bucket/{}", archive.object())] {
            assert_eq!(Archive::named(&name), Some(archive.clone()), "{name}");
        }
        // A snapshot remembers both.
        let context = Context { archive: Some(archive), ..context('a') };
        let snapshot = State::new("d").to_snapshot(&context).to_string();
        assert_eq!(State::from_snapshot(&snapshot).unwrap().1, context);
    }
    assert_eq!(Archive::named("archives/ab.tar"), None);
}

#[test]
fn a_new_archive_is_a_new_revision() {
    let plan = plan(&declared(&shipped(), &context('b')), &deployed(&shipped()));
    assert_snapshot!(plan.text(false));
}

#[test]
fn drift_made_by_hand_shows() {
    let drift = drifted(Kind::TriggerSubscription, "ai-workloads-function", |found| {
        found.as_object_mut().unwrap().remove("deadLetterPolicy");
        found["expirationPolicy"] = json!({"ttl": "2678400s"});
    });
    assert_snapshot!(drift.text(false));
    let drift = drifted(Kind::Service, "ai-workloads-function", |found| {
        found["ingress"] = json!("INGRESS_TRAFFIC_ALL");
        let variables = found["template"]["containers"][0]["env"].as_array_mut().unwrap();
        variables.push(json!({"name": "DEBUG", "value": "1"}));
    });
    assert_snapshot!(drift.text(false));
}

#[test]
fn a_filter_cannot_be_changed() {
    let changed = topology(
        "[subscriptions.ai-workloads-subscription]\n",
        "[subscriptions.ai-workloads-subscription]\nfilter = 'attributes:kind'\n",
    );
    let plan = plan(&wanted(&changed), &deployed(&shipped()));
    assert_snapshot!(plan.text(false));
    // Who may use a subscription goes with it.
    assert!(plan.steps.iter().any(|step| step.id.kind == Kind::Policy(Target::Subscription)));
}

#[test]
fn what_is_not_declared_any_more_is_deleted_if_it_is_ours() {
    let mut state = deployed(&shipped());
    let ours = json!({"labels": {DEPLOYMENT_LABEL: "ai-workloads"}});
    state.insert(Id::new(Kind::Topic, "projects/my-project/topics/old"), ours.clone());
    state.insert(Id::new(Kind::Subscription, "projects/my-project/subscriptions/old"), ours);
    let theirs = json!({"labels": {DEPLOYMENT_LABEL: "other"}});
    state.insert(Id::new(Kind::Topic, "projects/my-project/topics/theirs"), theirs);
    state.insert(Id::new(Kind::Topic, "projects/my-project/topics/unlabelled"), json!({}));
    let plan = plan(&wanted(&shipped()), &state);
    assert_snapshot!(plan.text(false));
    assert_eq!(plan.steps[1].needs, [plan.steps[0].id.clone()], "a topic goes after its subscription");
}

#[test]
fn access_is_merged_and_nobody_else_is_let_in() {
    let drift = drifted(Kind::Policy(Target::Service), "ai-workloads-function", |found| {
        let bindings = found["bindings"].as_array_mut().unwrap();
        bindings[0]["members"] = json!(["allUsers", "user:someone@example.com"]);
        let runtime = "serviceAccount:ai-workloads-function@my-project.iam.gserviceaccount.com";
        bindings.push(json!({"role": "roles/run.invoker", "members": [runtime]}));
        bindings.push(json!({"role": "roles/run.viewer", "members": ["group:all@example.com"]}));
    });
    assert_snapshot!(drift.text(false));
}

#[test]
fn a_revision_that_does_not_run_is_made_again() {
    let drift = drifted(Kind::Service, "ai-workloads-function", |found| {
        found["terminalCondition"] = json!({"state": "CONDITION_FAILED", "message": "the container did not start"});
    });
    assert_snapshot!(drift.text(false));
}

#[test]
fn what_belongs_to_a_trigger_is_laid_over_a_new_one_again() {
    let mut state = deployed(&shipped());
    let trigger = id(Kind::Trigger, "ai-workloads-function");
    let mut found = state.get(&trigger).unwrap().clone();
    found["transport"]["pubsub"]["topic"] = json!("projects/my-project/topics/another");
    state.insert(trigger, found);
    assert_snapshot!(plan(&wanted(&shipped()), &state).text(false));
}

#[test]
fn a_snapshot_gives_the_same_plan_later() {
    let state = deployed(&shipped());
    let text = state.to_snapshot(&context('a')).to_string();
    let (read, place) = State::from_snapshot(&text).unwrap();
    assert_eq!((read, place), (state, context('a')));
    for wrong in
        ["", "{}", r#"{"deployment": "d", "project": "p", "number": "1", "region": "r", "resources": [{"kind": "x"}]}"#]
    {
        assert!(State::from_snapshot(wrong).is_err(), "{wrong}");
    }
}

/// A snapshot in which every name has the project's number, and some are written in full.
fn by_number(state: &State, number: &str) -> State {
    let text = state.to_snapshot(&context('a')).to_string();
    let text = text
        .replace("projects/my-project/", &format!("projects/{number}/"))
        .replace(r#""service":"ai-"#, &format!(r#""service":"projects/{number}/locations/europe-west1/services/ai-"#))
        .replace(r#""serviceAccount":""#, &format!(r#""serviceAccount":"projects/{number}/serviceAccounts/"#));
    State::from_snapshot(&text).unwrap().0
}

#[test]
fn a_name_with_the_projects_number_is_no_change() {
    let topology = shipped();
    let state = deployed(&topology);
    let plan = plan(&wanted(&topology), &by_number(&state, "123456789"));
    assert!(plan.is_empty(), "{}", plan.text(false));
    // Nor is a resource that is ours mistaken for one that is not declared.
    assert_eq!(by_number(&state, "123456789").ids().collect::<Vec<_>>(), state.ids().collect::<Vec<_>>());
}

#[test]
fn a_topic_of_another_project_is_a_change() {
    for theirs in ["projects/987654321/topics/ai-workloads-topic", "projects/123456789/topics/another"] {
        let drift = drifted(Kind::Trigger, "ai-workloads-function", |found| {
            found["transport"]["pubsub"]["topic"] = json!(theirs);
        });
        assert_eq!(drift.counts()[2], 1, "{theirs}: {}", drift.text(false));
    }
}

#[test]
fn a_member_in_capitals_has_its_role() {
    let drift = drifted(Kind::Policy(Target::Service), "ai-workloads-function", |found| {
        let member = &mut found["bindings"][0]["members"][0];
        *member = json!(member.as_str().unwrap().replace("ai-workloads", "AI-Workloads"));
    });
    assert!(drift.is_empty(), "{}", drift.text(false));
}

#[test]
fn revisions_have_the_archive_in_their_names_and_never_the_same_one_twice() {
    let context = context('c');
    assert_eq!(context.revision("s", 0), "s-00001-cccccccccccc");
    assert_eq!(context.revision("s", 11), "s-00012-cccccccccccc");
    let longest = context.revision(&"x".repeat(49), 99_998);
    assert_eq!((longest.len(), longest.ends_with("-99999-ccccccc")), (63, true), "{longest}");
}

#[test]
fn an_account_belongs_to_its_project() {
    let mut context = context('a');
    assert_eq!(context.email("runner"), "runner@my-project.iam.gserviceaccount.com");
    assert_eq!(context.email("a@b.c"), "a@b.c");
    context.project = "example.com:my-project".to_owned();
    assert_eq!(context.email("runner"), "runner@my-project.example.com.iam.gserviceaccount.com");
}

#[test]
fn every_body_fits_the_clients_types() {
    // Fields that a client lacks would be dropped on the way without a word.
    fn unchanged<T: serde::de::DeserializeOwned + serde::Serialize>(body: &Value) {
        let model: T = serde_json::from_value(body.clone()).unwrap();
        let shown = serde_json::to_value(&model).unwrap();
        let mut lost = Vec::new();
        walk(body, &shown, "", &mut lost);
        assert!(lost.is_empty(), "{lost:?} of {body}");
    }
    fn walk(sent: &Value, shown: &Value, path: &str, lost: &mut Vec<String>) {
        match sent {
            Value::Object(fields) => {
                let each = |(key, value): (&String, &Value)| walk(value, &shown[key], &format!("{path}.{key}"), lost);
                fields.iter().for_each(each);
            }
            Value::Array(items) => items.iter().enumerate().for_each(|(i, item)| walk(item, &shown[i], path, lost)),
            sent if *sent == json!("") || *sent == json!(false) || *sent == json!(0) => {}
            _ if shown.is_null() => lost.push(path.to_owned()),
            _ => {}
        }
    }
    for resource in wanted(&shipped()) {
        let body = merged(&resource.creation, &resource.body);
        match resource.id.kind {
            Kind::Topic => unchanged::<google_cloud_pubsub::model::Topic>(&body),
            Kind::Subscription | Kind::TriggerSubscription => {
                unchanged::<google_cloud_pubsub::model::Subscription>(&body)
            }
            Kind::Service => unchanged::<google_cloud_run_v2::model::Service>(&body),
            Kind::Trigger => unchanged::<google_cloud_eventarc_v1::model::Trigger>(&body),
            Kind::ServiceAccount => unchanged::<google_cloud_iam_admin_v1::model::ServiceAccount>(&body),
            // Their bodies are checked by the API, or sent to none.
            Kind::Api | Kind::ServiceAgent | Kind::Secret | Kind::Bucket | Kind::Archive | Kind::Policy(_) => {}
        }
    }
}
