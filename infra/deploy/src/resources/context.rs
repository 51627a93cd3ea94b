//! Where a topology is deployed to, and what: names, addresses and accounts there.

use serde_json::Value;

use super::kind::Api;

/// The longest name of a revision, in characters.
const MAX_REVISION_LENGTH: usize = 63;

pub use infra::topology::ARCHIVES;
use infra::topology::{ArchiveFormat, Secret};

/// Where a topology is deployed to, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The project's id.
    pub project: String,
    /// The project's number, which the accounts of Google's own agents and the addresses of services contain; a
    /// placeholder where it is not known.
    pub number: String,
    /// The region of services, triggers and the bucket.
    pub region: String,
    /// What is deployed; `None` if it is not built yet.
    pub archive: Option<Archive>,
}

/// A built archive, by its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// Hexadecimal SHA-256 of its bytes.
    pub sha256: String,
    /// Its form.
    pub format: ArchiveFormat,
}

impl Archive {
    /// The object's name in the bucket.
    pub fn object(&self) -> String {
        format!("{ARCHIVES}{}", self.file_name())
    }

    /// `SHA256.tar.gz` or `SHA256.zip`
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.sha256, self.format.extension())
    }

    /// The archive whose object, or `BUCKET/OBJECT`, or name without folder this is.
    pub fn named(object: &str) -> Option<Self> {
        let name = object.rsplit('/').next().unwrap_or(object);
        ArchiveFormat::ALL.into_iter().find_map(|format| {
            let sha256 = name.strip_suffix(format.extension())?.strip_suffix('.')?;
            Some(Self { sha256: sha256.to_owned(), format })
        })
    }
}

impl Context {
    /// The object of what is deployed; a placeholder if it is not built yet.
    pub(crate) fn object(&self) -> String {
        match &self.archive {
            Some(archive) => archive.object(),
            None => format!("{ARCHIVES}(known after the build)"),
        }
    }

    /// `projects/P`
    pub(crate) fn parent(&self) -> String {
        format!("projects/{}", self.project)
    }

    /// `projects/P/locations/R`
    pub(crate) fn regional_parent(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.region)
    }

    /// `projects/P/topics/T`
    pub fn topic(&self, name: &str) -> String {
        format!("projects/{}/topics/{name}", self.project)
    }

    /// `projects/P/subscriptions/S`
    pub fn subscription(&self, name: &str) -> String {
        format!("projects/{}/subscriptions/{name}", self.project)
    }

    /// `projects/P/locations/R/services/S`
    pub fn service(&self, name: &str) -> String {
        format!("projects/{}/locations/{}/services/{name}", self.project, self.region)
    }

    /// `projects/P/locations/R/triggers/T`. A service has one trigger at most, so the trigger has the service's name.
    pub fn trigger(&self, service: &str) -> String {
        format!("projects/{}/locations/{}/triggers/{service}", self.project, self.region)
    }

    /// `projects/P/serviceAccounts/EMAIL`
    pub fn service_account(&self, email: &str) -> String {
        format!("projects/{}/serviceAccounts/{email}", self.project)
    }

    /// `projects/P/secrets/S`; a secret without a project is this one's.
    pub fn secret(&self, secret: &Secret) -> String {
        let (name, project) = secret.name_and_project();
        let other = project.filter(|project| *project != self.number);
        format!("projects/{}/secrets/{name}", other.unwrap_or(&self.project))
    }

    /// Whether the resource of this full name, `projects/P/…`, is of this project.
    pub fn is_own(&self, name: &str) -> bool {
        let project = name.strip_prefix("projects/").and_then(|rest| rest.split('/').next());
        project.is_some_and(|project| project == self.project || project == self.number)
    }

    /// The email of a declared account; an email stays as it is.
    pub fn email(&self, account: &str) -> String {
        if account.contains('@') {
            return account.to_owned();
        }
        // `example.com:project` becomes `project.example.com`.
        let domain = match self.project.split_once(':') {
            Some((domain, project)) => format!("{project}.{domain}"),
            None => self.project.clone(),
        };
        format!("{account}@{domain}.iam.gserviceaccount.com")
    }

    /// Whether an account is one of this project: declared here or there, or the one that Compute Engine or App Engine
    /// gave it.
    pub(super) fn is_own_account(&self, email: &str) -> bool {
        let domain = self.email("x").split_off(1);
        email.ends_with(&domain)
            || email == format!("{}-compute@developer.gserviceaccount.com", self.number)
            || email == format!("{}@appspot.gserviceaccount.com", self.project)
    }

    /// The address of a service, which Cloud Run makes of its name.
    /// <https://cloud.google.com/run/docs/triggering/https-request#deterministic>
    pub fn url(&self, service: &str) -> String {
        format!("https://{service}-{}.{}.run.app", self.number, self.region)
    }

    /// `projects/P/services/pubsub.googleapis.com`: Pub/Sub's own agent, by the service that it belongs to.
    pub(crate) fn pubsub_identity(&self) -> String {
        format!("projects/{}/services/{}", self.project, Api::PubSub.service())
    }

    /// The email of Pub/Sub's own agent, which forwards dead letters and signs the tokens of pushes.
    pub fn pubsub_agent(&self) -> String {
        format!("service-{}@gcp-sa-pubsub.iam.gserviceaccount.com", self.number)
    }

    /// The name of a service's next revision: Cloud Run's own form, with the archive's digest. `generation` is the
    /// service's own, 0 before it exists; it only grows, so no name is used twice.
    pub fn revision(&self, service: &str, generation: u64) -> String {
        let digest = self.archive.as_ref().map_or("", |archive| archive.sha256.as_str());
        let name = format!("{service}-{:05}-", generation + 1);
        let room = MAX_REVISION_LENGTH.saturating_sub(name.len()).min(12);
        format!("{name}{}", &digest[..room.min(digest.len())])
    }
}

/// Bucket and object of the archive that a service's `template` was made from, or a revision.
pub fn source(template: &Value) -> Option<(&str, &str)> {
    let source = &template["containers"][0]["sourceCode"]["cloudStorageSource"];
    Some((source["bucket"].as_str()?, source["object"].as_str()?))
}
