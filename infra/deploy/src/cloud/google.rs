//! Which API has which kind of resource: one table, and what all kinds share.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::agent::Agents;
use super::calls::{Calls, Update};
use super::error::{CloudError, Fault};
use super::eventarc::{TriggerSubscriptions, Triggers};
use super::iam::ServiceAccounts;
use super::patience::retry_read;
use super::project::Project;
use super::pubsub::{Policies, Subscriptions, Topics};
use super::run::Run;
use super::secret::{Secrets, absent};
use super::settings::{Settings, SettingsError};
use super::storage::{Archives, Buckets, Content, Storage};
use crate::plan::{self, Action, Change, Home, canonical};
use crate::resources::{Api, Archive, Context, Id, Kind, Mark, Resource, Target};

/// The project that a topology is deployed to.
#[derive(Debug)]
pub struct Google {
    pub(super) context: Context,
    pub(super) project: Project,
    agents: Agents,
    service_accounts: ServiceAccounts,
    pub(super) secrets: Secrets,
    pub(super) buckets: Buckets,
    archives: Archives,
    topics: Topics,
    run: Run,
    subscriptions: Subscriptions,
    triggers: Triggers,
    trigger_subscriptions: TriggerSubscriptions,
    /// The APIs that are stand-ins on this machine.
    local: Vec<Api>,
}

impl Google {
    /// Clients for a project and region. Only the project's number is asked for; other clients connect on first use.
    ///
    /// # Errors
    /// There is no project, region or credentials, or the project cannot be read.
    pub async fn connect(settings: &Settings) -> Result<Self, CloudError> {
        let wrong = |error: SettingsError| CloudError::new(Fault::Wrong, error.to_string());
        let (id, region) = (settings.project().map_err(wrong)?, settings.region().map_err(wrong)?);
        let project = Project::new(settings, id).await?;
        let mut context =
            Context { project: id.to_owned(), number: String::new(), region: region.to_owned(), archive: None };
        context.number = retry_read(|| project.number()).await.map_err(|error| error.explained(&context))?;

        let storage = Arc::new(Storage::new(settings).await?);
        let policies = Policies::new(settings).await?;
        let subscriptions = Subscriptions::new(settings, policies.clone()).await?;
        let triggers = Triggers::new(settings).await?;
        let local: Vec<Api> = Api::ALL.into_iter().filter(|api| settings.endpoint(*api).is_local()).collect();
        Ok(Self {
            agents: Agents::new(settings)?,
            service_accounts: ServiceAccounts::new(settings).await?,
            secrets: Secrets::new(settings),
            buckets: Buckets { storage: storage.clone(), local: local.contains(&Api::Storage) },
            archives: Archives { storage, content: None },
            topics: Topics::new(settings, policies).await?,
            run: Run::new(settings).await?,
            trigger_subscriptions: TriggerSubscriptions {
                triggers: triggers.clone(),
                subscriptions: subscriptions.clone(),
            },
            subscriptions,
            triggers,
            local,
            project,
            context,
        })
    }

    /// The table: each kind of resource, and the API that has it.
    fn calls(&self, kind: Kind) -> &dyn Calls {
        match kind {
            Kind::Api => &self.project,
            Kind::ServiceAgent => &self.agents,
            Kind::ServiceAccount => &self.service_accounts,
            Kind::Secret => &self.secrets,
            Kind::Bucket => &self.buckets,
            Kind::Archive => &self.archives,
            Kind::Topic => &self.topics,
            Kind::Service => &self.run,
            Kind::Subscription => &self.subscriptions,
            Kind::Trigger => &self.triggers,
            Kind::TriggerSubscription => &self.trigger_subscriptions,
            // A policy is read and written through the API of what it belongs to.
            Kind::Policy(target) => self.calls(target.kind()),
        }
    }

    /// Where this is, and what is deployed to it.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Deploys this archive, which is in the bucket already.
    pub fn set_archive(&mut self, archive: Archive) {
        self.context.archive = Some(archive);
    }

    /// Deploys this archive with these bytes; `sent` is told how many of them have been sent.
    pub fn set_archive_content(
        &mut self,
        archive: Archive,
        content: Bytes,
        sent: impl Fn(u64) + Send + Sync + 'static,
    ) {
        self.set_archive(archive);
        self.archives.content = Some(Content { bytes: content, sent: Arc::new(sent) });
    }

    /// Whether every API that deployments call is a stand-in on this machine.
    pub fn is_local(&self) -> bool {
        Api::always().all(|api| self.local.contains(&api))
    }

    /// Cloud Storage, for what a plan does not say: which objects a bucket contains.
    pub fn storage(&self) -> &Storage {
        &self.archives.storage
    }

    /// Cloud Run, for what a plan does not say: addresses and revisions.
    pub fn run(&self) -> &Run {
        &self.run
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

    /// A resource as it is now, to be compared with what is declared.
    ///
    /// # Errors
    /// As [`Google::read`].
    pub async fn read_for(&self, resource: &Resource) -> Result<Option<Value>, CloudError> {
        let found = self.read(&resource.id).await?;
        Ok(found.map(|found| self.without_fixed_fields(resource, found)))
    }

    /// Google's emulator lets no subscription expire and refuses to change that, so nothing is to be changed there.
    fn without_fixed_fields(&self, resource: &Resource, found: Value) -> Value {
        let mut found = found;
        let subscription = matches!(resource.id.kind, Kind::Subscription | Kind::TriggerSubscription);
        if subscription && self.local.contains(&Api::PubSub) {
            found["expirationPolicy"] = resource.body["expirationPolicy"].clone();
        }
        found
    }

    /// A resource as it is now; `None` if there is none.
    ///
    /// # Errors
    /// The call failed.
    pub async fn read(&self, id: &Id) -> Result<Option<Value>, CloudError> {
        let answer = match id.kind {
            Kind::Policy(target) => self.read_policy(target, &id.name).await,
            kind => {
                let answer = self.calls(kind).read(&self.context, &id.name).await;
                answer.map(|found| canonical(&found, Home::of(&self.context)))
            }
        };
        match answer {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.fault == Fault::Missing => Ok(None),
            Err(error) => Err(error.explained(&self.context)),
        }
    }

    /// Every resource of a kind, with its full name.
    pub(super) async fn list(&self, kind: Kind) -> Result<Vec<(String, Value)>, CloudError> {
        let listed = self.calls(kind).list(&self.context).await?;
        let named = |value: &Value| {
            let value = canonical(value, Home::of(&self.context));
            (value["name"].as_str().unwrap_or_default().to_owned(), value)
        };
        Ok(listed.iter().map(named).collect())
    }

    /// Creates a resource. That of an API enables it.
    ///
    /// # Errors
    /// The call failed; [`Fault::Exists`] if it is there.
    pub async fn create(&self, resource: &Resource) -> Result<(), CloudError> {
        self.create_once(resource).await.map_err(|error| error.explained(&self.context))
    }

    async fn create_once(&self, resource: &Resource) -> Result<(), CloudError> {
        let Id { kind, name } = &resource.id;
        match kind {
            // Eventarc has created it: what is declared is merged into that.
            Kind::TriggerSubscription => {
                let found = self.calls(*kind).read(&self.context, name).await?;
                let found = self.without_fixed_fields(resource, canonical(&found, Home::of(&self.context)));
                match plan::compare(resource, &found) {
                    Action::Update(changes) => self.update_once(resource, &found, &changes).await,
                    _ => Ok(()),
                }
            }
            Kind::Policy(target) => {
                let found = self.read_policy(*target, name).await.map_err(|error| match target {
                    Target::Secret => absent(name, error),
                    _ => error,
                })?;
                self.update_policy(*target, name, &found, &resource.body).await
            }
            kind => {
                let body = plan::merged(&resource.creation, &resource.body);
                self.calls(*kind).create(&self.context, name, body).await
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
        let Resource { id: Id { kind, name }, body: declared, .. } = resource;
        if let Kind::Policy(target) = kind {
            return self.update_policy(*target, name, found, declared).await;
        }
        let body = plan::narrowed(&plan::merged(found, declared), changes);
        self.calls(*kind).update(&self.context, Update { name, found, declared, changes, body }).await
    }

    /// Deletes a resource; it is no error if there is none.
    ///
    /// # Errors
    /// The call failed.
    pub async fn delete(&self, id: &Id) -> Result<(), CloudError> {
        let answer = match id.kind {
            // It is deleted with what it belongs to.
            Kind::Policy(_) => Ok(()),
            kind => self.calls(kind).delete(&id.name).await,
        };
        match answer {
            Err(error) if error.fault != Fault::Missing => Err(error.explained(&self.context)),
            _ => Ok(()),
        }
    }

    /// The IAM policy of a resource. Stand-ins without access control have an empty one, which says so.
    async fn read_policy(&self, target: Target, name: &str) -> Result<Value, CloudError> {
        let answer = self.calls(target.kind()).read_policy(&self.context, name).await;
        let api = match target {
            Target::TriggerSubscription => Api::PubSub,
            target => target.kind().api(),
        };
        match answer {
            Err(error) if error.fault == Fault::Unsupported && self.local.contains(&api) => {
                Ok(plan::no_access_control())
            }
            answer => answer,
        }
    }

    /// Read-modify-write with the policy's etag: bindings are merged into what was found.
    async fn update_policy(&self, target: Target, name: &str, found: &Value, body: &Value) -> Result<(), CloudError> {
        let Some(policy) = plan::merged_policy(body, found) else { return Ok(()) };
        self.calls(target.kind()).write_policy(&self.context, name, policy).await
    }
}

impl Kind {
    /// Whether resources of this kind that are not declared any more can be found by their mark. Buckets stay until
    /// `destroy`.
    pub(super) fn is_listed(self) -> bool {
        self.spec().mark != Mark::None && self != Self::Bucket
    }
}
