//! What there is of a deployment: the state that a plan compares with.

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use super::error::{CloudError, Fault, tried};
use super::google::Google;
use super::retry::retry_read;
use crate::plan::{State, dropped_secrets};
use crate::resources::{Api, Id, Kind, Resource};

/// Reads in flight at once.
const MAX_READS: usize = 32;

impl Google {
    /// Finds what there is of the declared resources, and what else has the deployment's label.
    ///
    /// # Errors
    /// The first call that failed, with its resource.
    pub async fn find(&self, declared: &[Resource], deployment: &str) -> Result<State, CloudError> {
        let mut state = State::new(deployment);
        let apis: Vec<&Id> = declared.iter().map(|resource| &resource.id).filter(|id| id.kind == Kind::Api).collect();
        let names: Vec<&str> = apis.iter().map(|id| id.name.as_str()).collect();
        let enabled = retry_read(|| self.project.enabled(&names))
            .await
            .map_err(|error| tried("list", "the project's APIs", error.explained(&self.context)))?;
        for id in apis.iter().filter(|id| enabled.contains(&id.name)) {
            state.insert((*id).clone(), json!({"state": "ENABLED"}));
        }
        let readable = |kind: Kind| enabled.iter().any(|name| name == kind.api().service());
        let read = declared.iter().filter(|resource| resource.id.kind != Kind::Api && readable(resource.id.kind));
        let read =
            read.map(|resource| async move { (resource.id.clone(), retry_read(|| self.read_for(resource)).await) });
        let mut read = stream::iter(read).buffer_unordered(MAX_READS);
        while let Some((id, answer)) = read.next().await {
            if let Some(value) = answer.map_err(|error| tried("read", &id.to_string(), error))? {
                state.insert(id, value);
            }
        }
        let lists = Kind::ALL.into_iter().filter(|kind| kind.is_listed() && readable(*kind));
        let lists = lists.map(|kind| async move { (kind, retry_read(|| self.list(kind)).await) });
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
        self.find_dropped_secrets(declared, &mut state).await?;
        Ok(state)
    }

    /// Reads who may read the secrets that left the topology.
    async fn find_dropped_secrets(&self, declared: &[Resource], state: &mut State) -> Result<(), CloudError> {
        let read = dropped_secrets(declared, state).into_iter();
        let read = read.map(|id| async move { (retry_read(|| self.read(&id)).await, id) });
        for (answer, id) in join_all(read).await {
            match answer {
                Ok(Some(policy)) => state.insert(id, policy),
                // An account that may not see a policy can revoke nothing there. The secret may be deleted, too.
                Ok(None) => {}
                Err(error) if matches!(error.fault, Fault::Denied | Fault::Disabled) => {}
                Err(error) => return Err(tried("read", &id.to_string(), error)),
            }
        }
        Ok(())
    }

    /// What is missing of the secrets that are declared: each with the command that creates it.
    ///
    /// # Errors
    /// The call failed.
    pub async fn missing_secrets(&self, declared: &[Resource]) -> Result<Vec<String>, CloudError> {
        let secrets = declared.iter().filter(|resource| resource.id.kind == Kind::Secret);
        let secrets: Vec<&Resource> = secrets.collect();
        if secrets.is_empty() || self.project.enabled(&[Api::SecretManager.service()]).await?.is_empty() {
            return Ok(Vec::new());
        }
        let checks = secrets.into_iter().flat_map(|secret| {
            let versions = secret.body["versions"].as_array().into_iter().flatten().filter_map(Value::as_str);
            versions.map(|version| (&secret.id, version))
        });
        let checks =
            checks.map(|(id, version)| async move { (id, retry_read(|| self.secrets.check(&id.name, version)).await) });
        let mut missing = Vec::new();
        for (id, answer) in join_all(checks).await {
            match answer {
                Err(error) if error.fault == Fault::Required => missing.push(error.message),
                Err(error) if error.fault == Fault::Denied && !self.context.is_own(&id.name) => {}
                answer => {
                    answer.map_err(|error| tried("read", &id.to_string(), error.explained(&self.context)))?;
                }
            }
        }
        missing.dedup();
        Ok(missing)
    }
}
