//! Secrets: whether they exist, and who may read them. Their values are never read.

use futures_util::FutureExt;
use google_cloud_iam_v1::model::Policy;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::calls::{Call, Calls, missing, nothing};
use super::client::{build_client, model, requested_version, value};
use super::error::{CloudError, Fault};
use super::settings::Settings;
use crate::plan::no_access_control;
use crate::resources::{Api, Context};

/// Secret Manager, whose client waits for its first use: most topologies declare no secret.
#[derive(Debug)]
pub(super) struct Secrets {
    settings: Settings,
    client: OnceCell<SecretManagerService>,
}

impl Secrets {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), client: OnceCell::new() }
    }

    async fn client(&self) -> Result<&SecretManagerService, CloudError> {
        let settings = &self.settings;
        self.client
            .get_or_try_init(|| async { Ok(build_client!(SecretManagerService, settings, Api::SecretManager)) })
            .await
    }

    /// Checks that a secret, `projects/P/secrets/S`, has this version.
    ///
    /// # Errors
    /// [`Fault::Required`] and what to run if there is no such secret or version; else the call failed.
    pub(super) async fn check(&self, name: &str, version: &str) -> Result<(), CloudError> {
        let client = self.client().await?;
        client.get_secret().set_name(name).send().await.map_err(|error| absent(name, error.into()))?;
        let request = client.get_secret_version().set_name(format!("{name}/versions/{version}"));
        match request.send().await.map_err(CloudError::from) {
            Err(error) if error.fault == Fault::Missing => Err(no_version(name, version)),
            // An account that may grant a secret need not be allowed to see its versions.
            Err(error) if error.fault == Fault::Denied => Ok(()),
            answer => answer.map(drop),
        }
    }
}

/// A deployment grants secrets and creates none. Whether they exist is told by [`Google::missing_secrets`], not by a
/// plan.
impl Calls for Secrets {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        missing(name)
    }

    fn create<'a>(&'a self, _: &'a Context, _: &'a str, _: Value) -> Call<'a, ()> {
        nothing()
    }

    fn read_policy<'a>(&'a self, at: &'a Context, name: &'a str) -> Call<'a, Value> {
        async move {
            let request = self.client().await?.get_iam_policy().set_resource(name).set_options(requested_version());
            match request.send().await.map_err(CloudError::from) {
                // Its owner may have granted it, which cannot be seen from here.
                Err(error) if error.fault == Fault::Denied && !at.is_own(name) => Ok(no_access_control()),
                answer => value(&answer?),
            }
        }
        .boxed()
    }

    fn write_policy<'a>(&'a self, _: &'a Context, name: &'a str, policy: Value) -> Call<'a, ()> {
        async move {
            let request = self.client().await?.set_iam_policy().set_resource(name);
            request.set_policy(model::<Policy>(policy)?).send().await.map_err(|error| absent(name, error.into()))?;
            Ok(())
        }
        .boxed()
    }
}

/// A missing secret, with the command that creates it.
pub(super) fn absent(name: &str, error: CloudError) -> CloudError {
    if error.fault != Fault::Missing {
        return error;
    }
    let (project, secret) = parts(name);
    let message = format!(
        "there is no secret `{secret}` in project `{project}`\n  help: create it: \
         printf %s VALUE | gcloud secrets create {secret} --project={project} --data-file=-"
    );
    CloudError::new(Fault::Required, message)
}

fn no_version(name: &str, version: &str) -> CloudError {
    let (project, secret) = parts(name);
    let message = format!(
        "secret `{secret}` in project `{project}` has no version `{version}`\n  help: add one: \
         printf %s VALUE | gcloud secrets versions add {secret} --project={project} --data-file=-"
    );
    CloudError::new(Fault::Required, message)
}

/// Project and name of `projects/P/secrets/S`.
fn parts(name: &str) -> (&str, &str) {
    let named = name.strip_prefix("projects/").and_then(|rest| rest.split_once("/secrets/"));
    named.unwrap_or(("", name))
}
