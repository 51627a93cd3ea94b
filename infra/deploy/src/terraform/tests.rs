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
