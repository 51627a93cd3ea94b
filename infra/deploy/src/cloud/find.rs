//! What there is of a deployment: the state that a plan compares with.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use super::error::{CloudError, Fault};
use super::google::Google;
use super::patience::{Cause, Retry};
use crate::plan::{State, dropped_secrets};
use crate::resources::{Id, Kind, Resource};

/// Reads in flight at once.
const MAX_READS: usize = 32;

/// The pauses between the attempts of a read.
const READ_BACKOFF_MIN: Duration = Duration::from_millis(50);
const READ_BACKOFF_MAX: Duration = Duration::from_secs(5);

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
}

/// Reads again while a service is busy, or does not show yet that its API was enabled.
pub(super) async fn retry_read<T, F: Future<Output = Result<T, CloudError>>>(
    read: impl Fn() -> F,
) -> Result<T, CloudError> {
    let mut retry = Retry::new(READ_BACKOFF_MIN, READ_BACKOFF_MAX);
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

/// An error with what was tried.
pub(super) fn tried(verb: &str, what: &str, error: CloudError) -> CloudError {
    CloudError { message: format!("cannot {verb} {what}: {}", error.message), ..error }
}
