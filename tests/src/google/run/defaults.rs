//! What Cloud Run fills in.

use serde_json::{Map, Value, json};

use super::super::account::default_account;
use super::super::call::Failure;
use super::super::json::default;

/// Fills in what a service leaves out.
pub(super) fn fill(service: &mut Value) -> Result<(), Failure> {
    let missing = || Failure::invalid("service.template.containers: at least one container is required.");
    let fields = service.as_object_mut().ok_or_else(missing)?;
    default(fields, "ingress", json!("INGRESS_TRAFFIC_ALL"));
    default(fields, "launchStage", json!("GA"));
    default(fields, "traffic", json!([{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]));
    let percent = |target: &Value| target["percent"].as_u64().unwrap_or_default();
    let all: u64 = fields["traffic"].as_array().into_iter().flatten().map(percent).sum();
    if all != 100 {
        return Err(Failure::invalid(format!("service.traffic: the percentages must add up to 100, not {all}.")));
    }

    let template = fields.get_mut("template").and_then(Value::as_object_mut).ok_or_else(missing)?;
    default(template, "timeout", json!("300s"));
    default(template, "maxInstanceRequestConcurrency", json!(80));
    default(template, "serviceAccount", json!(default_account()));
    default(template, "scaling", json!({}));
    if let Some(scaling) = template["scaling"].as_object_mut() {
        default(scaling, "maxInstanceCount", json!(100));
    }
    let containers = template.get_mut("containers").and_then(Value::as_array_mut).filter(|list| !list.is_empty());
    for container in containers.ok_or_else(missing)? {
        fill_container(container.as_object_mut().ok_or_else(missing)?)?;
    }
    Ok(())
}

fn fill_container(container: &mut Map<String, Value>) -> Result<(), Failure> {
    if !container.contains_key("image") {
        return Err(Failure::invalid("service.template.containers[0].image: Required field not present."));
    }
    default(container, "ports", json!([{"name": "http1", "containerPort": 8080}]));
    let port = container["ports"][0]["containerPort"].clone();
    // Without `resources` a service is billed by request; with them, only if they say so.
    default(container, "resources", json!({"cpuIdle": true, "startupCpuBoost": true}));
    if let Some(resources) = container["resources"].as_object_mut() {
        default(resources, "limits", json!({}));
        if let Some(limits) = resources["limits"].as_object_mut() {
            default(limits, "cpu", json!("1000m"));
            default(limits, "memory", json!("512Mi"));
        }
    }
    let tcp = json!({"timeoutSeconds": 240, "periodSeconds": 240, "failureThreshold": 1, "tcpSocket": {"port": port}});
    default(container, "startupProbe", tcp);
    for name in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) else { continue };
        default(probe, "timeoutSeconds", json!(1));
        default(probe, "periodSeconds", json!(10));
        default(probe, "failureThreshold", json!(3));
        for kind in ["httpGet", "tcpSocket"] {
            if let Some(action) = probe.get_mut(kind).and_then(Value::as_object_mut) {
                default(action, "port", port.clone());
            }
        }
        if let Some(get) = probe.get_mut("httpGet").and_then(Value::as_object_mut) {
            default(get, "path", json!("/"));
        }
    }
    Ok(())
}
