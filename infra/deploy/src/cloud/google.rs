//! Which API has which resource.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use google_cloud_iam_v1::model::GetPolicyOptions;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::agent::Agents;
use super::error::{CloudError, Fault};
use super::eventarc::Eventarc;
use super::iam::Iam;
use super::patience::{Cause, Retry};
use super::project::Project;
use super::pubsub::PubSub;
use super::run::Run;
use super::secret::{Secrets, absent};
use super::settings::{Api, Settings, SettingsError};
use super::storage::{Content, Storage};
use crate::plan::{self, Change, Context, Home, Id, Kind, Resource, State, Target};

/// Calls in flight while reading.
const READS: usize = 32;

/// The project in which a topology is deployed.
#[derive(Debug)]
pub struct Google {
    pub(super) context: Context,
    agents: Agents,
    eventarc: Eventarc,
    iam: Iam,
    pub(super) project: Project,
    pubsub: PubSub,
    run: Run,
    pub(super) secrets: Secrets,
    pub(super) storage: Storage,
    /// The APIs that are stand-ins on this machine.
    pub(super) local: Vec<Api>,
    /// What the archive holds, if it is here.
    content: Option<Content>,
}

impl Google {
    /// Clients for a project and region; the project's number is asked for, everything else waits for its first use.
    ///
    /// # Errors
    /// There is no project, region or credentials, or the project cannot be read.
    pub async fn connect(settings: &Settings) -> Result<Self, CloudError> {
        install_tls();
        let wrong = |error: SettingsError| CloudError::new(Fault::Wrong, error.to_string());
        let (id, region) = (settings.project().map_err(wrong)?, settings.region().map_err(wrong)?);
        let project = Project::new(settings, id).await?;
        let mut context =
            Context { project: id.to_owned(), number: String::new(), region: region.to_owned(), archive: None };
        context.number = persist(|| project.number()).await.map_err(|error| error.explained(&context))?;
        Ok(Self {
            agents: Agents::new(settings)?,
            eventarc: Eventarc::new(settings).await?,
            iam: Iam::new(settings).await?,
            pubsub: PubSub::new(settings).await?,
            run: Run::new(settings).await?,
            secrets: Secrets::new(settings),
            storage: Storage::new(settings).await?,
            local: Api::ALL.into_iter().filter(|api| settings.endpoint(*api).is_local()).collect(),
            content: None,
            project,
            context,
        })
    }

    /// Where this is, and what is deployed to it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The same place, with an archive to deploy that is in the bucket already.
    pub fn set_archive(&mut self, archive: plan::Archive) {
        self.context.archive = Some(archive);
    }

    /// The same place, with an archive to deploy, and its bytes; `sent` is told how many of them have gone.
    pub fn set_archive_content(
        &mut self,
        archive: plan::Archive,
        content: Bytes,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) {
        self.set_archive(archive);
        self.content = Some(Content { bytes: content, sent: Arc::new(sent) });
    }

    /// Whether every API that deployments call is a stand-in on this machine.
    pub fn is_local(&self) -> bool {
        Api::always().all(|api| self.local.contains(&api))
    }

    /// Cloud Storage, for what a plan does not say: which objects a bucket holds.
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// Those of these permissions in the project that the caller does not have.
    ///
    /// # Errors
    /// The call failed.
    pub async fn missing_permissions<'p>(&self, permissions: &[&'p str]) -> Result<Vec<&'p str>, CloudError> {
        self.project.missing(permissions).await.map_err(|error| error.explained(&self.context))
    }

    /// Which of these APIs are enabled.
    ///
    /// # Errors
    /// The call failed.
    pub async fn enabled(&self, apis: &[&str]) -> Result<Vec<String>, CloudError> {
        self.project.enabled(apis).await.map_err(|error| error.explained(&self.context))
    }

    /// Finds what there is of the declared resources, and what else carries the deployment's label.
    ///
    /// # Errors
    /// The first call that failed, with its resource.
    pub async fn find(&self, declared: &[Resource], deployment: &str) -> Result<State, CloudError> {
        let mut state = State::new(deployment);
        let apis: Vec<&Id> = declared.iter().map(|resource| &resource.id).filter(|id| id.kind == Kind::Api).collect();
        let names: Vec<&str> = apis.iter().map(|id| id.name.as_str()).collect();
        let enabled = persist(|| self.project.enabled(&names))
            .await
            .map_err(|error| tried("list", "the project's APIs", error.explained(&self.context)))?;
        for id in apis.iter().filter(|id| enabled.contains(&id.name)) {
            state.insert((*id).clone(), json!({"state": "ENABLED"}));
        }
        let on = |kind: Kind| enabled.iter().any(|name| name == kind.api().service());
        let there = declared.iter().filter(|resource| resource.id.kind != Kind::Api && on(resource.id.kind));
        let read =
            there.map(|resource| async move { (resource.id.clone(), persist(|| self.read_for(resource)).await) });
        let mut found = stream::iter(read).buffer_unordered(READS);
        while let Some((id, answer)) = found.next().await {
            if let Some(value) = answer.map_err(|error| tried("read", &id.to_string(), error))? {
                state.insert(id, value);
            }
        }
        let kinds = [Kind::ServiceAccount, Kind::Topic, Kind::Subscription, Kind::Service, Kind::Trigger];
        let lists = kinds
            .into_iter()
            .filter(|kind| on(*kind))
            .map(|kind| async move { (kind, persist(|| self.list(kind)).await) });
        for (kind, listed) in join_all(lists).await {
            let listed = listed.map_err(|error| error.explained(&self.context));
            let listed = listed.map_err(|error| tried("list", &format!("every {}", kind.noun()), error))?;
            for (name, value) in listed {
                let id = Id::new(kind, name);
                if state.get(&id).is_none() {
                    state.insert(id, value);
                }
            }
        }
        Ok(state)
    }

    /// A resource as it is now, to be compared with what is declared.
    ///
    /// # Errors
    /// As [`Google::read`].
    pub async fn read_for(&self, resource: &Resource) -> Result<Option<Value>, CloudError> {
        let found = self.read(&resource.id).await?;
        Ok(found.map(|found| self.changeable(resource, found)))
    }

    /// Google's emulator lets no subscription expire and refuses to change that, so nothing is to be changed there.
    fn changeable(&self, resource: &Resource, found: Value) -> Value {
        let mut found = found;
        let subscription = matches!(resource.id.kind, Kind::Subscription | Kind::TriggerSubscription);
        if subscription && self.local.contains(&Api::PubSub) {
            found["expirationPolicy"] = resource.body["expirationPolicy"].clone();
        }
        found
    }

    /// A resource as it is now.
    ///
    /// # Errors
    /// The call failed. That there is none is no error.
    pub async fn read(&self, id: &Id) -> Result<Option<Value>, CloudError> {
        let name = &id.name;
        let answer = match id.kind {
            Kind::Api => return Ok(self.project.enabled(&[name]).await?.first().map(|_| json!({"state": "ENABLED"}))),
            Kind::ServiceAccount => self.iam.read(name).await,
            // A plan tells of the agent by what names it, and `missing_secrets` of secrets.
            Kind::ServiceAgent | Kind::Secret => return Ok(None),
            Kind::Bucket => self.own_bucket(name).await,
            Kind::Archive => self.storage.read_object(name).await,
            Kind::Topic => self.pubsub.read_topic(name).await,
            Kind::Subscription => self.pubsub.read_subscription(name).await,
            Kind::Service => self.run.read(name).await,
            Kind::Trigger => self.eventarc.read(name).await,
            Kind::TriggerSubscription => match self.subscription_of(name).await {
                Ok(subscription) => self.pubsub.read_subscription(&subscription).await,
                Err(error) => Err(error),
            },
            Kind::Policy(target) => self.read_policy(target, name).await,
        };
        match answer {
            Ok(value) if matches!(id.kind, Kind::Policy(_)) => Ok(Some(value)),
            Ok(value) => Ok(Some(plan::canonical(&value, Home::of(&self.context)))),
            Err(error) if error.fault == Fault::Missing => Ok(None),
            Err(error) => Err(error.explained(&self.context)),
        }
    }

    /// Every resource of a kind, with its full name.
    async fn list(&self, kind: Kind) -> Result<Vec<(String, Value)>, CloudError> {
        let parent = format!("projects/{}", self.context.project);
        let place = format!("{parent}/locations/{}", self.context.region);
        let listed = match kind {
            Kind::ServiceAccount => self.iam.list(&parent).await,
            Kind::Topic => self.pubsub.list_topics(&parent).await,
            Kind::Subscription => self.pubsub.list_subscriptions(&parent).await,
            Kind::Service => self.run.list(&place).await,
            Kind::Trigger => self.eventarc.list(&place).await,
            _ => Ok(Vec::new()),
        };
        let named = |value: &Value| {
            let value = plan::canonical(value, Home::of(&self.context));
            (value["name"].as_str().unwrap_or_default().to_owned(), value)
        };
        Ok(listed?.iter().map(named).collect())
    }

    /// Makes a resource. That of an API enables it.
    ///
    /// # Errors
    /// The call failed; [`Fault::Exists`] if it is there.
    pub async fn create(&self, resource: &Resource) -> Result<(), CloudError> {
        self.create_once(resource).await.map_err(|error| error.explained(&self.context))
    }

    async fn create_once(&self, resource: &Resource) -> Result<(), CloudError> {
        let name = &resource.id.name;
        let body = plan::merged(&resource.creation, &resource.body);
        match resource.id.kind {
            Kind::Api => self.project.enable(name).await,
            Kind::ServiceAgent => {
                let service = resource.id.short();
                self.agents.create(&format!("projects/{}/services/{service}", self.context.number)).await
            }
            Kind::ServiceAccount => self.iam.create(name, &body).await,
            Kind::Secret => Ok(()),
            Kind::Bucket => self.storage.create(&self.context.project, name, &body).await,
            Kind::Archive => match self.content.clone() {
                Some(content) => self.storage.upload(name, content).await,
                None => Err(CloudError::new(Fault::Wrong, "it is not in the bucket, and nothing is there to upload")),
            },
            Kind::Topic => self.pubsub.create_topic(name, &body).await,
            Kind::Subscription => self.pubsub.create_subscription(name, &body).await,
            Kind::Service => self.run.create(name, body, &self.context.revision(resource.id.short(), 0)).await,
            Kind::Trigger => self.eventarc.create(name, &body).await,
            // Eventarc has made it: what is declared is laid over that.
            Kind::TriggerSubscription => {
                let subscription = self.subscription_of(name).await?;
                let found = self.pubsub.read_subscription(&subscription).await?;
                let found = self.changeable(resource, plan::canonical(&found, Home::of(&self.context)));
                match plan::compare(resource, &found) {
                    plan::Action::Update(changes) => self.update_once(resource, &found, &changes).await,
                    _ => Ok(()),
                }
            }
            Kind::Policy(target) => {
                let found = self.read_policy(target, name).await.map_err(|error| match target {
                    Target::Secret => absent(name, error),
                    _ => error,
                })?;
                self.update_policy(target, name, &found, &body).await
            }
        }
    }

    /// Changes a resource that was found.
    ///
    /// # Errors
    /// The call failed; [`Fault::Conflict`] if someone changed it since.
    pub async fn update(&self, resource: &Resource, found: &Value, changes: &[Change]) -> Result<(), CloudError> {
        self.update_once(resource, found, changes).await.map_err(|error| error.explained(&self.context))
    }

    async fn update_once(&self, resource: &Resource, found: &Value, changes: &[Change]) -> Result<(), CloudError> {
        let name = &resource.id.name;
        // Nothing that was found goes back beside what changes: an old revision's name, a launch stage, what only the
        // server sets.
        let body = plan::narrowed(&plan::merged(found, &resource.body), changes);
        match resource.id.kind {
            // None has a field that could differ.
            Kind::Api | Kind::ServiceAgent | Kind::Secret | Kind::Archive => Ok(()),
            Kind::ServiceAccount => self.iam.update(&body, changes).await,
            Kind::Bucket => self.storage.update(name, found, &resource.body).await,
            Kind::Topic => self.pubsub.update_topic(&body, changes).await,
            Kind::Subscription | Kind::TriggerSubscription => self.pubsub.update_subscription(&body, changes).await,
            Kind::Service => {
                let generation = found["generation"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
                self.run.update(body, changes, &self.context.revision(resource.id.short(), generation)).await
            }
            Kind::Trigger => self.eventarc.update(&body, changes).await,
            Kind::Policy(target) => self.update_policy(target, name, found, &resource.body).await,
        }
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// The call failed. That there is none any more is no error.
    pub async fn delete(&self, id: &Id) -> Result<(), CloudError> {
        self.delete_once(id).await.map_err(|error| error.explained(&self.context))
    }

    async fn delete_once(&self, id: &Id) -> Result<(), CloudError> {
        let name = &id.name;
        let answer = match id.kind {
            Kind::ServiceAccount => self.iam.delete(name).await,
            Kind::Bucket => self.storage.delete(name).await,
            Kind::Archive => self.storage.delete_object(name).await,
            Kind::Topic => self.pubsub.delete_topic(name).await,
            Kind::Subscription => self.pubsub.delete_subscription(name).await,
            Kind::Service => self.run.delete(name).await,
            Kind::Trigger => self.eventarc.delete(name).await,
            // They go with what they belong to, or serve others too.
            Kind::Api | Kind::ServiceAgent | Kind::Secret | Kind::TriggerSubscription | Kind::Policy(_) => Ok(()),
        };
        answer.or_else(|error| if error.fault == Fault::Missing { Ok(()) } else { Err(error) })
    }

    /// The subscription that Eventarc made for a trigger.
    async fn subscription_of(&self, trigger: &str) -> Result<String, CloudError> {
        let found = plan::canonical(&self.eventarc.read(trigger).await?, Home::of(&self.context));
        let subscription = found["transport"]["pubsub"]["subscription"].as_str().unwrap_or_default();
        if subscription.is_empty() {
            return Err(CloudError::new(Fault::Missing, "Eventarc has not made the trigger's subscription yet"));
        }
        Ok(subscription.to_owned())
    }

    /// The IAM policy of a resource. Stand-ins without access control have an empty one, which says so.
    async fn read_policy(&self, target: Target, name: &str) -> Result<Value, CloudError> {
        let answer = match target {
            Target::Bucket => {
                self.own_bucket(name).await?;
                self.storage.read_policy(name).await
            }
            Target::ServiceAccount => self.iam.read_policy(name).await,
            Target::Secret => match self.secrets.read_policy(name).await {
                // Whoever owns it may have granted it, and nothing here can tell.
                Err(error) if error.fault == Fault::Denied && !self.context.is_own(name) => {
                    return Ok(plan::no_access_control());
                }
                answer => answer,
            },
            Target::Topic | Target::Subscription => self.pubsub.read_policy(name).await,
            Target::Service => self.run.read_policy(name).await,
            Target::TriggerSubscription => self.pubsub.read_policy(&self.subscription_of(name).await?).await,
        };
        let owner = if target == Target::TriggerSubscription { Kind::Subscription } else { target.kind() };
        match answer {
            Err(error) if error.fault == Fault::Unsupported && self.local.contains(&owner.api()) => {
                Ok(plan::no_access_control())
            }
            // fake-gcs-server knows buckets, and answers with 404 for their policies.
            Err(error)
                if error.fault == Fault::Missing && target == Target::Bucket && self.local.contains(&owner.api()) =>
            {
                self.storage.read(name).await.map(|_| plan::no_access_control())
            }
            answer => answer,
        }
    }

    /// Read-modify-write with the policy's etag: bindings are merged into what was found.
    async fn update_policy(&self, target: Target, name: &str, found: &Value, body: &Value) -> Result<(), CloudError> {
        let Some(policy) = plan::merged_policy(body, found) else { return Ok(()) };
        match target {
            Target::Bucket => self.storage.write_policy(name, &policy).await,
            Target::ServiceAccount => self.iam.write_policy(name, policy).await,
            Target::Secret => self.secrets.write_policy(name, policy).await,
            Target::Topic | Target::Subscription => self.pubsub.write_policy(name, policy).await,
            Target::Service => self.run.write_policy(name, policy).await,
            Target::TriggerSubscription => self.pubsub.write_policy(&self.subscription_of(name).await?, policy).await,
        }
    }

    /// Cloud Run, for what a plan does not say: addresses and revisions.
    pub fn run(&self) -> &Run {
        &self.run
    }
}

/// Reads again while a service is busy, or does not know yet that its API was enabled.
pub(super) async fn persist<T, F: Future<Output = Result<T, CloudError>>>(
    read: impl Fn() -> F,
) -> Result<T, CloudError> {
    let mut retry = Retry::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        match read().await {
            Err(error) if matches!(error.fault, Fault::Passing | Fault::Busy | Fault::Disabled) => {
                match retry.pause(Cause::Read, error.retry_after, Instant::now()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                }
            }
            answer => return answer,
        }
    }
}

pub(super) fn tried(verb: &str, what: &str, error: CloudError) -> CloudError {
    CloudError { message: format!("cannot {verb} {what}: {}", error.message), ..error }
}

/// A body as the client's type. What does not fit is a mistake of this program.
pub(super) fn model<T: DeserializeOwned>(body: Value) -> Result<T, CloudError> {
    serde_json::from_value(body)
        .map_err(|error| CloudError::new(Fault::Wrong, format!("a body that the API lacks: {error}")))
}

/// A client's type as JSON.
pub(super) fn value(model: &impl Serialize) -> Result<Value, CloudError> {
    serde_json::to_value(model)
        .map_err(|error| CloudError::new(Fault::Wrong, format!("an answer without JSON: {error}")))
}

/// The fields of an update mask: the first part of each path.
pub(super) fn mask(changes: &[Change]) -> google_cloud_wkt::FieldMask {
    let mut paths: Vec<&str> = changes.iter().map(Change::top).collect();
    paths.sort_unstable();
    paths.dedup();
    google_cloud_wkt::FieldMask::default().set_paths(paths)
}

/// Policies are read with their conditions, or a write would lose somebody else's:
/// <https://cloud.google.com/iam/docs/policies#versions>.
pub(super) fn requested_version() -> GetPolicyOptions {
    GetPolicyOptions::new().set_requested_policy_version(plan::POLICY_VERSION)
}

/// Makes ring the TLS provider of this process, unless there is one: the clients bring none.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A client at the endpoint and with the credentials that the settings say. It tries once: whoever applies a plan decides what is
/// tried again. Operations of a stand-in are looked at often, since there they take no time.
macro_rules! install {
    ($client:ident, $settings:ident, $api:expr) => {{
        let endpoint = $settings.endpoint($api);
        let credentials = $settings
            .credentials($api)
            .map_err(|error| $crate::cloud::CloudError::new($crate::cloud::Fault::Denied, error.to_string()))?;
        let mut builder = $client::builder().with_credentials(credentials).with_retry_policy(NeverRetry);
        if endpoint.is_local() {
            builder = builder.with_polling_backoff_policy($crate::cloud::google::quick());
        }
        if let Some(url) = endpoint.url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.map_err(|error| {
            let message = format!("cannot make a client for {}: {error}", $api.service());
            $crate::cloud::CloudError::new($crate::cloud::Fault::Wrong, message)
        })?
    }};
}
pub(super) use install;

/// Every item of a paged list, each as JSON by the function. A macro, since the bound of
/// the pages' trait is internal to its crate.
macro_rules! all {
    ($items:expr, $shown:path) => {{
        use google_cloud_gax::paginator::ItemPaginator;
        let mut items = $items;
        let mut all = Vec::new();
        while let Some(item) = items.next().await {
            all.push($shown(&item?)?);
        }
        Ok(all)
    }};
}
pub(super) use all;

pub(super) fn quick() -> google_cloud_gax::exponential_backoff::ExponentialBackoff {
    use std::time::Duration;
    google_cloud_gax::exponential_backoff::ExponentialBackoffBuilder::new()
        .with_initial_delay(Duration::from_millis(5))
        .with_maximum_delay(Duration::from_millis(50))
        .clamp()
}
