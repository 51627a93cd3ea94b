use deploy::cloud::Api;
use http::Method;
use serde_json::{Value, json};

use super::{Checked, Documents};

fn check(api: Api, method: &str, target: &str, mut body: Value) -> Result<(String, Value), String> {
    let documents = Documents::shared().unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: Vec<_> = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let method: Method = method.parse().unwrap();
    let request = Checked { method: &method, path, query: &query, body: &mut body, media: false };
    let id = documents.of(api).check(request)?.to_owned();
    Ok((id, body))
}

#[test]
fn a_request_is_accepted_or_refused_with_its_place() {
    if Documents::shared().is_none() {
        return;
    }
    let services = "/v2/projects/p/locations/r/services";
    let run = |method: &str, target: String, body: Value| check(Api::Run, method, &target, body);
    let (id, body) = run(
        "POST",
        format!("{services}?serviceId=s&validateOnly=false&$alt=json"),
        json!({"ingress": 2, "template": {"timeout": "60s", "containers": [{"image": "scratch"}]}}),
    )
    .unwrap();
    assert_eq!(id, "run.projects.locations.services.create");
    assert_eq!(body["ingress"], "INGRESS_TRAFFIC_INTERNAL_ONLY");

    let one = format!("{services}/s");
    for (method, target, body, why) in [
        ("POST", format!("{services}?serviceID=s"), json!({}), "unknown query parameter `serviceID`"),
        ("POST", format!("{services}?validateOnly=yes"), json!({}), "no boolean"),
        ("PUT", one.clone(), json!({}), "no method of this API is PUT"),
        ("GET", format!("{services}/s/extra"), Value::Null, "no method of this API has the path"),
        ("GET", one.clone(), json!({}), "takes no body"),
        ("PATCH", one.clone(), json!({"template": {"containers": [{"img": "x"}]}}), "body.template.containers[0].img"),
        ("PATCH", one.clone(), json!({"template": {"timeout": "60"}}), "body.template.timeout"),
        ("PATCH", one.clone(), json!({"template": {"timeout": 60}}), "is no string"),
        ("PATCH", one.clone(), json!({"ingress": "OPEN"}), "is none of"),
        ("PATCH", one.clone(), json!({"ingress": 99}), "is none of"),
        ("PATCH", one.clone(), json!({"invokerIamDisabled": "true"}), "is no boolean"),
        ("PATCH", one.clone(), json!({"labels": {"a": 1}}), "body.labels.a"),
        ("PATCH", format!("{one}?updateMask=template.memory"), json!({}), "template.memory"),
    ] {
        let error = run(method, target.clone(), body).unwrap_err();
        assert!(error.contains(why), "{method} {target}: {error}");
    }
    assert!(run("PATCH", format!("{one}?updateMask=template.scaling,labels.a,max_x"), json!({})).is_err());
    assert!(run("PATCH", format!("{one}?updateMask=template.scaling.max_instance_count,labels.a"), json!({})).is_ok());
}

#[test]
fn the_other_apis_are_known_too() {
    if Documents::shared().is_none() {
        return;
    }
    let topic = "/v1/projects/p/topics/t";
    assert!(check(Api::PubSub, "GET", &format!("{topic}:getIamPolicy"), Value::Null).is_ok());
    assert!(check(Api::PubSub, "POST", &format!("{topic}:getIamPolicy"), json!({})).is_err());
    let update = json!({"topic": {"labels": {}}, "updateMask": "label"});
    assert!(check(Api::PubSub, "PATCH", topic, update).unwrap_err().contains("`label` is no field"));
    assert!(
        check(Api::Eventarc, "POST", "/v1/projects/p/locations/r/triggers", json!({}))
            .unwrap_err()
            .contains("triggerId")
    );

    assert!(check(Api::Storage, "POST", "/storage/v1/b", json!({"name": "b"})).unwrap_err().contains("`project`"));
    assert!(check(Api::Storage, "POST", "/storage/v1/b?project=p", json!({})).unwrap_err().contains("body.name"));
    assert!(check(Api::Storage, "GET", "/storage/v1/b/b/o/a%2Fb:c", Value::Null).is_ok());
    assert!(check(Api::Storage, "POST", "/upload/storage/v1/b/b/o?uploadType=multipart", json!({"name": "o"})).is_ok());
    for (api, target) in [
        (Api::Iam, "/v1/projects/p/serviceAccounts"),
        (Api::ResourceManager, "/v3/projects/p"),
        (Api::ServiceUsage, "/v1/projects/p/services:batchGet?names=a&names=b"),
    ] {
        check(api, "GET", target, Value::Null).unwrap();
    }
}
