//! Google Cloud as a deployment sees it: state, long-running operations, etags, and what is only true after a while.
//!
//! Cloud Run, Eventarc, IAM, Secret Manager, Service Usage and Resource Manager live in this process; Pub/Sub and
//! Cloud Storage are proxies that add what the stand-ins behind them lack. Time passes with requests: an operation is
//! done after so many looks at it or at its resource, so nothing here waits for a clock.

mod account;
mod agent;
mod call;
mod eventarc;
mod fault;
mod json;
mod names;
mod operation;
mod policy;
mod project;
mod pubsub;
mod run;
mod secret;
mod server;
mod snapshot;
mod state;
mod storage;
mod upstream;

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;

use deploy::cloud::Api;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use fault::{Fault, FaultKind, Request};
pub use state::Behaviour;

use crate::discovery::Documents;
use crate::{PubSub, unique};
use server::Shared;
use state::State;

/// A running stand-in for Google Cloud, with one project; ends when dropped.
#[derive(Debug)]
pub struct Google {
    project: String,
    region: &'static str,
    hosts: Vec<(Api, String)>,
    shared: Arc<Shared>,
    runtime: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Methods panic when the stand-in itself fails.
impl Google {
    /// Starts one in front of the Pub/Sub and the Cloud Storage at these `HOST:PORT`, with a new project in which no
    /// API is enabled but Service Usage and Cloud Storage; `None` where Google's API descriptions are missing (see
    /// the crate's documentation).
    pub fn start(pubsub: &str, storage: &str) -> Option<Self> {
        Self::start_as(pubsub, storage, Behaviour::default())
    }

    /// Starts one that behaves like this.
    pub fn start_as(pubsub: &str, storage: &str, behaviour: Behaviour) -> Option<Self> {
        let documents = Documents::shared()?;
        let (project, region) = (unique("test-project"), "europe-west1");
        let shared = Arc::new(Shared::new(documents, &project, behaviour, pubsub, storage));
        let (stop, stopped) = oneshot::channel();
        let (hosts, runtime, thread) = server::start(&shared, stopped);
        Some(Self { project, region, hosts, shared, runtime, stop: Some(stop), thread: Some(thread) })
    }

    /// The project's id; another one for each.
    pub fn project(&self) -> &str {
        &self.project
    }

    /// The project's number, which stands in the names of its service agents.
    pub fn project_number(&self) -> &'static str {
        state::PROJECT_NUMBER
    }

    /// The region of the environment.
    pub fn region(&self) -> &str {
        self.region
    }

    /// `HOST:PORT` of an API.
    pub fn host(&self, api: Api) -> &str {
        let host = self.hosts.iter().find(|(other, _)| *other == api);
        host.map(|(_, host)| host.as_str()).unwrap_or_else(|| panic!("no host for {api:?}"))
    }

    /// `http://HOST:PORT` of an API and this path.
    pub fn url(&self, api: Api, path: &str) -> String {
        format!("http://{}{path}", self.host(api))
    }

    /// The Pub/Sub of this project.
    pub fn pubsub(&self) -> PubSub {
        PubSub::at(self.host(Api::PubSub)).in_project(&self.project)
    }

    /// What makes Google's tools, and this project's, use it: endpoints, project and region.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            ("GOOGLE_CLOUD_PROJECT", self.project.clone()),
            ("CLOUDSDK_CORE_PROJECT", self.project.clone()),
            ("CLOUDSDK_RUN_REGION", self.region.to_owned()),
            ("PUBSUB_EMULATOR_HOST", self.host(Api::PubSub).to_owned()),
            ("STORAGE_EMULATOR_HOST", self.url(Api::Storage, "")),
        ];
        variables.extend(Api::ALL.map(|api| {
            let name = match api {
                Api::Run => "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
                Api::Eventarc => "CLOUDSDK_API_ENDPOINT_OVERRIDES_EVENTARC",
                Api::PubSub => "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB",
                Api::Storage => "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE",
                Api::Iam => "CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM",
                Api::ResourceManager => "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER",
                Api::ServiceUsage => "CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE",
                Api::SecretManager => "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER",
            };
            (name, self.url(api, "/"))
        }));
        variables
    }

    /// Every request so far, in the order in which they were answered.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).requests.clone()
    }

    /// Those that change something.
    pub fn mutations(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.mutating);
        requests
    }

    /// How many requests so far were to change something, those counted that were made to fail.
    pub fn mutating(&self) -> usize {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).mutating
    }

    /// Forgets the requests, and with them the violations.
    pub fn forget_requests(&self) {
        let mut log = self.shared.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.requests.clear();
        log.violations.clear();
        log.mutating = 0;
    }

    /// Requests that Google would not have understood: a path, parameter or field that its API descriptions do not
    /// have.
    pub fn violations(&self) -> Vec<String> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).violations.clone()
    }

    /// Makes a later request fail.
    pub fn fail(&self, fault: Fault) {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).faults.push((fault, 0));
    }

    /// How many faults wait for their request; the rest have struck.
    pub fn faults_left(&self) -> usize {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).faults.len()
    }

    /// Forgets the faults that have not struck.
    pub fn heal(&self) {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).faults.clear();
    }

    /// What Resource Manager's `testIamPermissions` says the caller does not have.
    pub fn deny(&self, permission: &str) {
        self.shared.denied.lock().unwrap_or_else(PoisonError::into_inner).insert(permission.to_owned());
    }

    /// Everything that a deployment made, by its full name: services, triggers, service accounts, IAM policies,
    /// buckets with the names of their objects, topics and subscriptions. Etags, times, generations and what else the
    /// server draws are left out, so that two states compare.
    pub fn snapshot(&self) -> Value {
        let snapshot = self.with_state(|state| Box::pin(async move { state.snapshot().await }));
        snapshot.unwrap_or_else(|error| panic!("no snapshot: {error}"))
    }

    /// The pushes and triggers whose tokens cannot be signed, because Pub/Sub's agent lacks its role on their account.
    pub fn undeliverable(&self) -> Vec<String> {
        let found = self.with_state(|state| Box::pin(async move { state.undeliverable().await }));
        found.unwrap_or_else(|error| panic!("the subscriptions cannot be listed: {error}"))
    }

    /// Creates a bucket that another project owns; the caller may do anything with it if it is `open`, else nothing.
    pub fn create_foreign_bucket(&self, name: &str, open: bool) {
        let name = name.to_owned();
        let created =
            self.with_state(move |state| Box::pin(async move { state.create_foreign_bucket(&name, open).await }));
        created.unwrap_or_else(|failure| panic!("no foreign bucket: {failure:?}"));
    }

    /// Someone else has this bucket now.
    pub fn give_bucket_away(&self, name: &str) {
        let name = name.to_owned();
        self.with_state(move |state| Box::pin(async move { state.give_bucket_away(&name) }));
    }

    /// Makes Eventarc refuse so many more triggers, as if its agent had lost its role.
    pub fn refuse_triggers(&self, times: u32) {
        self.with_state(move |state| Box::pin(async move { state.eventarc_lag = times }));
    }

    fn with_state<T: Send + 'static>(
        &self,
        work: impl for<'s> FnOnce(&'s mut State) -> Pin<Box<dyn Future<Output = T> + Send + 's>> + Send + 'static,
    ) -> T {
        let (send, receive) = std::sync::mpsc::channel();
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            let mut state = shared.state.lock().await;
            let _ = send.send(work(&mut state).await);
        });
        receive.recv().unwrap_or_else(|error| panic!("the stand-in has ended: {error}"))
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
