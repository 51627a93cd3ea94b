//! Runs the steps of a plan: side by side where they do not need one another, again where that helps, and never further than
//! asked. It makes no decisions: what is to be done comes from [`plan`], before and after every failed attempt.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::cloud::{Cause, CloudError, Fault, Google, Retry};
use crate::plan::{self, Action, Id, Plan, Resource, State, Step};

/// Steps at work at once.
const STEPS: usize = 8;

/// What happens, for a progress line.
#[derive(Debug)]
pub enum Progress<'p> {
    /// A step began.
    Started(&'p Step),
    /// It is tried again, for this cause. Said once for each cause.
    Waiting(&'p Step, Cause, &'p CloudError),
    /// It is done.
    Done(&'p Step, Duration),
    /// It failed for good.
    Failed(&'p Step, &'p CloudError),
}

/// How an application ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Steps that are done.
    pub done: usize,
    /// Steps that failed, and why.
    pub failed: Vec<(Id, CloudError)>,
    /// Steps that were not begun, because another failed or the caller asked to stop.
    pub left: usize,
}

/// Runs a plan. Once `stop` completes, steps at work are finished and no other begins.
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
        while !stopped && running.len() < STEPS {
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

/// One step, until it is done or trying again is no use.
async fn run(
    google: &Google,
    step: &Step,
    found: &State,
    progress: &(dyn Fn(Progress<'_>) + Sync),
) -> Result<(), CloudError> {
    let (shortest, longest) = if google.is_local() { (10, 1_000) } else { (500, 10_000) };
    let mut retry = Retry::new(Duration::from_millis(shortest), Duration::from_millis(longest));
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

/// An attempt that failed may have had its effect, or someone else was quicker: what is there is compared again.
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
