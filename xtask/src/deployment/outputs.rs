//! Names and addresses of what is deployed.

use anyhow::{Result, bail};
use deploy::cloud::{Fault, Google};
use deploy::resources::{self, Id, Kind};
use infra::topology::{Service, Topology};
use serde_json::{Map, Value, json};

/// `topic_name`, `subscription_name`, `cloud_function_name`; then `service_urls` by name, `bucket` and `object`.
///
/// The function is the first service declared, the topic the one whose messages it takes, the subscription the first
/// one of that topic that workers pull from.
pub(crate) async fn read(google: &Google, topology: &Topology) -> Result<Value> {
    let mut outputs = names(topology);
    (outputs["bucket"], outputs["object"]) = (Value::Null, Value::Null);
    let mut urls = Map::new();
    for service in &topology.services {
        let id = Id::new(Kind::Service, google.context().service(&service.name));
        let Some(found) = google.read(&id).await? else {
            bail!("service `{}` is not deployed in {}\n  help: run `cargo xtask deploy`", service.name, id.name);
        };
        urls.insert(service.name.clone(), found["uri"].clone());
        if outputs["object"].is_null()
            && let Some((bucket, object)) = resources::source(&found["template"])
        {
            // What runs came out of it, and what runs next will.
            match google.own_bucket(bucket).await {
                Err(error) if error.fault != Fault::Missing => return Err(error.into()),
                _ => (outputs["bucket"], outputs["object"]) = (bucket.into(), object.into()),
            }
        }
    }
    outputs["service_urls"] = urls.into();
    Ok(outputs)
}

fn names(topology: &Topology) -> Value {
    let service = topology.first_service();
    let feeds = service.map(|service: &Service| topology.feeds(&service.name)).unwrap_or_default();
    let topic = feeds.first().map(|feed| feed.topic);
    let topic = topic.or_else(|| topology.topics.first().map(|topic| topic.name.as_str()));
    let mut pulls = topology.subscriptions.iter().filter(|subscription| subscription.push.is_none());
    let subscription = pulls.find(|subscription| Some(subscription.topic.as_str()) == topic);
    json!({
        "topic_name": topic,
        "subscription_name": subscription.map(|subscription| subscription.name.as_str()),
        "cloud_function_name": service.map(|service| service.name.as_str()),
    })
}

pub(crate) fn print(outputs: &Value, json: bool) {
    if json {
        println!("{outputs}");
        return;
    }
    let line = |name: &str, value: &Value| {
        if let Some(value) = value.as_str() {
            println!("{name} = {value:?}");
        }
    };
    for name in ["topic_name", "subscription_name", "cloud_function_name"] {
        line(name, &outputs[name]);
    }
    for (service, url) in outputs["service_urls"].as_object().into_iter().flatten() {
        line(&format!("service_urls.{service}"), url);
    }
    for name in ["bucket", "object"] {
        line(name, &outputs[name]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_topology_gives_the_three_names() {
        let names = names(&Topology::shipped().unwrap());
        assert_eq!(names["topic_name"], "ai-workloads-topic");
        assert_eq!(names["subscription_name"], "ai-workloads-subscription");
        assert_eq!(names["cloud_function_name"], "ai-workloads-function");
    }
}
