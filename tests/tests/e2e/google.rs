//! The stand-in for Google Cloud, driven as a client drives Google.

mod account;
mod client;
mod fault;
mod proxy;
mod run;
mod trigger;

use deploy::cloud::Api;
use http::Method;
use serde_json::{Value, json};
use tests::{Behaviour, Emulator, Google, Storage};

/// A stand-in and a client of it.
struct Rig {
    google: Google,
    client: reqwest::Client,
}

/// With every API enabled, new accounts usable at once, and names as they were sent; `None` where a part is missing.
fn rig() -> Option<Rig> {
    rig_as(Behaviour { account_lag: 0, numbers: false, ..Behaviour::old_project() })
}

fn rig_as(behaviour: Behaviour) -> Option<Rig> {
    let google = Google::start_as(Emulator::shared()?.host(), Storage::shared()?.host(), behaviour)?;
    ::function::clients::use_ring();
    Some(Rig { google, client: reqwest::Client::builder().no_proxy().build().unwrap() })
}

impl Rig {
    async fn try_call(
        &self,
        api: Api,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<(u16, Value), reqwest::Error> {
        let path = path.replace("{P}", self.google.project()).replace("{R}", self.google.region());
        let mut request = self.client.request(method, self.google.url(api, &path));
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        Ok((answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await?).unwrap_or_default()))
    }

    async fn call(&self, api: Api, method: Method, path: &str, body: Value) -> (u16, Value) {
        self.try_call(api, method, path, body).await.unwrap()
    }

    async fn ok(&self, api: Api, method: Method, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(api, method.clone(), path, body).await;
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    async fn get(&self, api: Api, path: &str) -> Value {
        self.ok(api, Method::GET, path, Value::Null).await
    }

    /// The code and message of an error.
    async fn refused(&self, api: Api, method: Method, path: &str, body: Value) -> (u16, String) {
        let (status, answer) = self.call(api, method, path, body).await;
        let error = &answer["error"];
        assert_eq!(error["code"], status, "{path}: {status} {answer}");
        (status, format!("{} {}", error["status"].as_str().unwrap_or_default(), error["message"].as_str().unwrap()))
    }

    /// Polls an operation until it is done; returns the number of polls, and how it ended.
    async fn wait(&self, api: Api, version: &str, operation: &Value) -> (usize, Value) {
        let path = format!("/{version}/{}", operation["name"].as_str().unwrap());
        for polls in 1..10 {
            let operation = self.get(api, &path).await;
            if operation["done"] == true {
                return (polls, operation);
            }
        }
        panic!("never done: {operation}");
    }

    /// Creates an account that can be used at once.
    async fn account(&self, id: &str) -> String {
        let made = self.ok(Api::Iam, Method::POST, "/v1/projects/{P}/serviceAccounts", json!({"accountId": id})).await;
        made["email"].as_str().unwrap().to_owned()
    }

    /// Creates a service and waits for it.
    async fn service(&self, id: &str, service: Value) -> Value {
        let path = format!("{SERVICES}?serviceId={id}");
        let operation = self.ok(Api::Run, Method::POST, &path, service).await;
        self.wait(Api::Run, "v2", &operation).await.1["response"].clone()
    }
}

const SERVICES: &str = "/v2/projects/{P}/locations/{R}/services";

/// The smallest service.
fn hello() -> Value {
    json!({"template": {"containers": [{"image": "scratch"}]}})
}

#[tokio::test]
async fn an_api_is_to_be_enabled_and_then_takes_its_time() {
    let Some(rig) = rig_as(Behaviour::default()) else { return };
    let (status, answer) = rig.call(Api::Run, Method::GET, SERVICES, Value::Null).await;
    assert_eq!((status, &answer["error"]["details"][0]["reason"]), (403, &json!("SERVICE_DISABLED")));
    let enabled = rig.get(Api::ServiceUsage, "/v1/projects/{P}/services?filter=state:ENABLED").await;
    let names: Vec<&str> =
        enabled["services"].as_array().unwrap().iter().map(|s| s["config"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["storage.googleapis.com", "serviceusage.googleapis.com"]);

    let batch = "/v1/projects/{P}/services:batchEnable";
    let body = json!({"serviceIds": ["run.googleapis.com", "cloudresourcemanager.googleapis.com"]});
    let operation = rig.ok(Api::ServiceUsage, Method::POST, batch, body.clone()).await;
    assert_eq!(operation["done"], Value::Null);
    let (polls, done) = rig.wait(Api::ServiceUsage, "v1", &operation).await;
    assert_eq!((polls, done["response"]["services"].as_array().unwrap().len()), (2, 2), "{done}");
    assert_eq!(rig.call(Api::Run, Method::GET, SERVICES, Value::Null).await.0, 403);
    assert_eq!(rig.call(Api::Run, Method::GET, SERVICES, Value::Null).await.0, 200);
    let again = rig.ok(Api::ServiceUsage, Method::POST, batch, body).await;
    assert_eq!(again["done"], true);

    let one = rig.get(Api::ServiceUsage, "/v1/projects/{P}/services/run.googleapis.com").await;
    assert_eq!(one["state"], "ENABLED");
    let names = "names=projects/{P}/services/run.googleapis.com&names=projects/{P}/services/eventarc.googleapis.com";
    let both = rig.get(Api::ServiceUsage, &format!("/v1/projects/{{P}}/services:batchGet?{names}")).await;
    assert_eq!((&both["services"][0]["state"], &both["services"][1]["state"]), (&json!("ENABLED"), &json!("DISABLED")));
    let unknown = json!({"serviceIds": ["nothing.googleapis.com"]});
    assert_eq!(rig.refused(Api::ServiceUsage, Method::POST, batch, unknown).await.0, 403);
    assert_eq!(rig.google.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_project_has_a_number_and_permissions() {
    let Some(rig) = rig() else { return };
    let project = rig.get(Api::ResourceManager, "/v3/projects/{P}").await;
    assert_eq!(project["name"], format!("projects/{}", rig.google.project_number()));
    assert_eq!(project["projectId"], rig.google.project());
    rig.google.deny("run.services.create");
    let asked = json!({"permissions": ["run.services.create", "run.services.get"]});
    let granted = rig.ok(Api::ResourceManager, Method::POST, "/v3/projects/{P}:testIamPermissions", asked).await;
    assert_eq!(granted, json!({"permissions": ["run.services.get"]}));
    assert_eq!(rig.refused(Api::ResourceManager, Method::GET, "/v3/projects/another", Value::Null).await.0, 403);
}
