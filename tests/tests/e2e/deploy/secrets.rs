//! Declared secrets: the API, the grant on each secret alone, and the message where one is missing.

use deploy::cloud::Api;
use serde_json::{Value, json};

use super::Project;

const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

impl Project {
    /// With a secret in its service's environment.
    fn with_secret(secret: &str) -> Option<Self> {
        let project = Self::new()?;
        project.edit("timeout = \"60s\"", &format!("timeout = \"60s\"\nsecrets = {{ API_KEY = \"{secret}\" }}"));
        Some(project)
    }

    /// As `gcloud secrets create --data-file` does.
    fn create_secret(&self, name: &str) {
        self.enable("secretmanager.googleapis.com");
        let secrets = format!("/v1/projects/{}/secrets", self.google.project());
        let body = json!({"replication": {"automatic": {}}});
        self.post(Api::SecretManager, &format!("{secrets}?secretId={name}"), &body);
        self.post(Api::SecretManager, &format!("{secrets}/{name}:addVersion"), &json!({"payload": {"data": "eA=="}}));
    }

    /// Enables an API and waits until it is enabled.
    fn enable(&self, api: &str) {
        let path = format!("/v1/projects/{}/services/{api}:enable", self.google.project());
        let operation = self.post(Api::ServiceUsage, &path, &json!({}));
        let name = operation["name"].as_str().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let look = || async {
            let url = self.google.url(Api::ServiceUsage, &format!("/v1/{name}"));
            reqwest::get(url).await.unwrap().json::<Value>().await.unwrap()
        };
        while operation["done"] != true && runtime.block_on(look())["done"] != true {}
    }

    /// Again while the API says that it is not enabled yet.
    fn post(&self, api: Api, path: &str, body: &Value) -> Value {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let send = || async {
            let answer = reqwest::Client::new().post(self.google.url(api, path)).json(body).send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
        };
        for _ in 0..10 {
            let (status, answer) = runtime.block_on(send());
            if status == 200 {
                return answer;
            }
            assert!(status == 403 && answer.to_string().contains("SERVICE_DISABLED"), "{path}: {status} {answer}");
        }
        panic!("{path} was refused ten times");
    }

    fn secret_grants(&self, secret: &str) -> Value {
        let name = format!("policy of projects/{}/secrets/{secret}", self.google.project_number());
        self.google.snapshot()[name]["bindings"].clone()
    }
}

#[test]
fn the_runtime_account_reads_the_declared_secret_and_no_other() {
    let Some(project) = Project::with_secret("api-key:latest") else {
        return;
    };
    project.create_secret("api-key");
    project.create_secret("other");
    project.google.forget_requests();
    let archive = project.archive("one");
    let plan = project.run(&["plan", "--archive", &archive]).ok();
    assert!(
        plan.stdout.contains("access to secret") && plan.stdout.contains("secretmanager.secretAccessor"),
        "{}",
        plan.stdout
    );

    let _ = project.deploy("one").ok();
    let member = format!("serviceAccount:ai-workloads-function@{}.iam.gserviceaccount.com", project.google.project());
    assert_eq!(project.secret_grants("api-key"), json!([{"role": ACCESSOR, "members": [member]}]));
    assert_eq!(project.secret_grants("other"), Value::Null);
    let read = project.google.requests();
    let read = read.iter().find(|request| request.path.ends_with("/secrets/api-key:getIamPolicy")).unwrap();
    assert!(read.query.contains(&("options.requestedPolicyVersion".to_owned(), "3".to_owned())), "{read:?}");
    assert!(!project.google.requests().iter().any(|request| request.path.ends_with(":access")), "a value was read");
    project.check();
    assert!(project.deploy("one").ok().stderr.contains("No changes."));
    let doctor = project.run(&["doctor"]).ok();
    assert!(doctor.stdout.contains("none of 1 is missing"), "{}", doctor.stdout);

    // Someone else's grant stays where the deployment's goes.
    let theirs = json!({"role": ACCESSOR, "members": ["user:someone@example.com"]});
    let policy = format!("/v1/projects/{}/secrets/api-key:setIamPolicy", project.google.project());
    let both = json!({"policy": {"bindings": [{"role": ACCESSOR, "members": [member, "user:someone@example.com"]}]}});
    project.post(Api::SecretManager, &policy, &both);
    let destroyed = project.run(&["destroy", "--yes"]).ok();
    assert!(destroyed.stderr.contains("access to secret api-key"), "{}", destroyed.stderr);
    assert_eq!(project.secret_grants("api-key"), json!([theirs]));
    project.check();
    let gone = project.run(&["destroy", "--yes"]).ok();
    assert!(gone.stderr.contains("Nothing to destroy"), "{}", gone.stderr);
}

#[test]
fn a_missing_secret_is_said_with_the_command_that_creates_it() {
    let Some(project) = Project::with_secret("api-key:latest") else {
        return;
    };
    let create = format!("gcloud secrets create api-key --project={}", project.google.project());
    // Before the API is enabled secrets cannot be read; then the deployment ends where it would grant the secret, and
    // the next one goes on from there.
    let first = project.deploy("one").failed(1, &create);
    let waits = |line: &&str| line.contains("waits for") && line.contains("there is no secret");
    assert_eq!(first.stderr.lines().find(waits), None, "{}", first.stderr);
    let doctor = project.run(&["doctor"]);
    assert!(doctor.code == Some(1) && doctor.stdout.contains(&create), "{}", doctor.stdout);
    let archive = project.archive("one");
    let plan = project.run(&["plan", "--archive", &archive]).ok();
    assert!(plan.stderr.contains(&create), "{}", plan.stderr);
    project.google.forget_requests();
    let _ = project.deploy("one").failed(1, &create);
    assert_eq!(project.google.mutations(), []);
    project.create_secret("api-key");
    let _ = project.deploy("one").ok();
    project.check();
}

#[test]
fn a_version_that_a_secret_lacks_is_said_too() {
    let Some(project) = Project::with_secret("api-key:7") else {
        return;
    };
    project.create_secret("api-key");
    let _ = project.deploy("one").failed(1, "gcloud secrets versions add api-key");
}

#[test]
fn a_secret_of_another_project_is_its_owners_to_grant() {
    let Some(project) = Project::with_secret("projects/another/secrets/api-key:1") else {
        return;
    };
    project.enable("secretmanager.googleapis.com");
    let archive = project.archive("one");
    // Its policy cannot be read, so nothing is planned for it, and nothing ends.
    let plan = project.run(&["plan", "--json", "--archive", &archive]).ok().json();
    assert!(!plan["steps"].to_string().contains("secret-access"), "{plan:#}");
}
