use std::collections::BTreeSet;

use super::*;

fn full() -> Value {
    export(&crate::full_topology())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

#[test]
fn the_shipped_topology() {
    insta::assert_snapshot!(pretty(&export(&Topology::shipped().unwrap())));
}

#[test]
fn everything_that_can_be_declared() {
    insta::assert_snapshot!(pretty(&full()["resource"]));
}

#[test]
fn an_environment_has_its_own_names() {
    let text = include_str!("../../../topology.toml");
    let document = pretty(&export(&Topology::parse_environment(text, "t.toml", "staging").unwrap()));
    assert!(document.contains("projects/${var.project}/topics/ai-workloads-results-staging"), "{document}");
    assert!(document.contains(r#""name": "${var.project}-ai-workloads-staging""#), "{document}");
    assert!(!document.contains("ai-workloads-topic\""), "{document}");
}

/// Every `${…}` of a document.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => {
            let text = text.replace("$${", "").replace("%%{", "");
            assert!(!text.contains("%{"), "{text}");
            found.extend(text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(map) => map.iter().filter(|(key, _)| *key != "//").for_each(|(_, item)| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_resource_or_variable() {
    let no_bucket = Topology { archive: None, ..Topology::shipped().unwrap() };
    for document in [full(), export(&Topology::shipped().unwrap()), export(&no_bucket)] {
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for reference in found {
            // What a function is called with: a variable here.
            let argument = reference.split_once('(').map(|(_, rest)| rest.rsplit('(').next().unwrap());
            let plain = argument.map_or(reference.as_str(), |argument| argument.split(')').next().unwrap());
            let parts: Vec<_> = plain.split('.').collect();
            let there = match parts[..] {
                ["var", name] => !document["variable"][name].is_null(),
                ["data", kind, name, _] => !document["data"][kind][name].is_null(),
                [kind, name, ..] => !document["resource"][kind][name].is_null(),
                _ => false,
            };
            assert!(there, "{reference}");
        }
        let resources = document["resource"].as_object().unwrap();
        for (kind, named) in resources {
            for (name, body) in named.as_object().unwrap() {
                for needed in body["depends_on"].as_array().into_iter().flatten() {
                    let (kind, name) = needed.as_str().unwrap().split_once('.').unwrap();
                    assert!(!resources[kind][name].is_null(), "{needed}");
                }
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                assert!(
                    name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain),
                    "{kind} {name}"
                );
            }
        }
    }
}

#[test]
fn what_looks_like_a_template_stays_text() {
    let document = full();
    let resources = &document["resource"];
    let filter = &resources["google_pubsub_subscription"]["entry-high"]["filter"];
    assert_eq!(filter, r#"attributes.template = "$${x} %%{y}""#);
    assert_eq!(resources["google_service_account"]["runtime"]["display_name"], "The $${function}");
    let container = &resources["google_cloud_run_v2_service"]["first"]["template"]["containers"][0];
    let environment: Vec<_> = container["env"].as_array().unwrap().iter().map(|env| &env["value"]).collect();
    assert!(environment.contains(&&json!("$${text}")), "{environment:?}");
}

#[test]
fn a_field_without_a_row_is_exported_under_its_own_name() {
    let context =
        Context { project: PROJECT.to_owned(), number: NUMBER.to_owned(), region: REGION.to_owned(), archive: None };
    let id = Id::new(Kind::Topic, context.topic("work"));
    let body = json!({"newSetting": {"maxValue": 3}, "newTopic": context.topic("work"), "text": "${x}"});
    let topic = Resource::new(id.clone(), body);
    let names = Names::new(std::slice::from_ref(&topic), &context);
    let rendered = Value::Object(names.render(&topic, id.kind.block().unwrap()));
    let expected = json!({
        "name": "work", "new_setting": {"max_value": 3}, "new_topic": "${google_pubsub_topic.work.id}", "text": "$${x}",
    });
    assert_eq!(rendered, expected);
}

#[test]
fn an_agent_that_only_a_command_names_is_there() {
    let text = "[topics.work]\n[subscriptions.out]\ntopic = \"work\"\n\
        push = { endpoint = \"https://example.com/\", service-account = \"x@other.iam.gserviceaccount.com\" }\n";
    let document = export(&Topology::parse(text, "t.toml").unwrap());
    assert!(document["output"]["after_apply"].to_string().contains(AGENT), "{document:#}");
    assert!(document["resource"]["google_project_service_identity"]["pubsub"].is_object(), "{document:#}");
}
