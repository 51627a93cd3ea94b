//! Runs the steps of a plan: concurrently where they do not need one another, and again where that helps. It decides
//! nothing: what is to be done comes from [`plan`], also after every failed attempt.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::cloud::{Cause, CloudError, Fault, Google, Retry};
use crate::plan::{self, Action, Plan, State, Step};
use crate::resources::{Id, Resource};

/// Steps that run at once.
const MAX_STEPS: usize = 8;

/// The pauses between the attempts of a step, from about the first to about the second.
const STEP_BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The same where every API is a stand-in on this machine.
const LOCAL_STEP_BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What happens, for a progress line.
#[derive(Debug)]
pub enum Progress<'p> {
    /// A step began.
    Started(&'p Step),
    /// It failed and is tried again, for this cause. Reported once for each cause.
    Waiting(&'p Step, Cause, &'p CloudError),
    /// It is done.
    Done(&'p Step, Duration),
    /// It failed for good.
    Failed(&'p Step, &'p CloudError),
}

/// How a run of a plan ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that are done.
    pub done: usize,
    /// Steps that failed, and why.
    pub failed: Vec<(Id, CloudError)>,
    /// Steps that were not started, because another failed or the caller asked to stop.
    pub left: usize,
}

/// Runs a plan. Once `stop` completes, running steps are finished and no other starts.
pub async fn apply(
    google: &Google,
    plan: &Plan,
    found: &State,
    stop: impl Future<Output = ()>,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut waiting: Vec<&Step> = plan.steps.iter().collect();
    let mut done: BTreeSet<&Id> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    let mut stopped = false;
    let mut stop = std::pin::pin!(stop);
    loop {
        while !stopped && running.len() < MAX_STEPS {
            let ready = |step: &&Step| step.needs.iter().all(|need| done.contains(need));
            let Some(next) = waiting.iter().position(ready) else { break };
            let step = waiting.remove(next);
            progress(Progress::Started(step));
            running.push(async move {
                let began = Instant::now();
                (step, run(google, step, found, progress).await, began.elapsed())
            });
        }
        if running.is_empty() {
            break;
        }
        tokio::select! {
            () = &mut stop, if !stopped => stopped = true,
            Some((step, answer, took)) = running.next() => match answer {
                Ok(()) => {
                    progress(Progress::Done(step, took));
                    outcome.done += 1;
                    done.insert(&step.id);
                }
                Err(error) => {
                    progress(Progress::Failed(step, &error));
                    outcome.failed.push((step.id.clone(), error));
                    stopped = true;
                }
            },
        }
    }
    outcome.left = waiting.len();
    outcome
}

/// Runs one step until it is done or another attempt cannot help.
async fn run(
    google: &Google,
    step: &Step,
    found: &State,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<(), CloudError> {
    let (min, max) = if google.is_local() { LOCAL_STEP_BACKOFF } else { STEP_BACKOFF };
    let mut retry = Retry::new(min, max);
    let mut told: Option<Cause> = None;
    let mut answer = match &step.resource {
        Some(resource) => act(google, resource, &step.action, found.get(&step.id)).await,
        None => google.delete(&step.id).await,
    };
    loop {
        let Err(error) = answer else { return Ok(()) };
        let cause = Cause::of(&error, !step.needs.is_empty(), step.id.kind.api());
        let pause = cause.and_then(|cause| retry.pause(cause, error.retry_after, Instant::now()));
        let (Some(cause), Some(pause)) = (cause, pause) else { return Err(error) };
        if told.replace(cause) != Some(cause) {
            progress(Progress::Waiting(step, cause, &error));
        }
        tokio::time::sleep(pause).await;
        answer = match &step.resource {
            Some(resource) => again(google, resource).await,
            None => google.delete(&step.id).await,
        };
    }
}

/// Compares again before another attempt: the one that failed may have had its effect, or someone else may have been
/// quicker.
async fn again(google: &Google, resource: &Resource) -> Result<(), CloudError> {
    let found = google.read_for(resource).await?;
    if found.as_ref().is_some_and(|found| found["reconciling"] == true) {
        return Err(CloudError::new(Fault::Busy, "it is still being made ready"));
    }
    let action = found.as_ref().map_or(Action::Create, |found| plan::compare(resource, found));
    act(google, resource, &action, found.as_ref()).await
}

async fn act(
    google: &Google,
    resource: &Resource,
    action: &Action,
    found: Option<&serde_json::Value>,
) -> Result<(), CloudError> {
    match (action, found) {
        (Action::Nothing, _) => Ok(()),
        (Action::Update(changes), Some(found)) => google.update(resource, found, changes).await,
        (Action::Replace { .. }, _) => {
            google.delete(&resource.id).await?;
            google.create(resource).await
        }
        (Action::Delete, _) => google.delete(&resource.id).await,
        (Action::Create | Action::Update(_), _) => google.create(resource).await,
    }
}
