//! What is worth waiting for, and for how long: one table from cause to patience, and the pauses between attempts,
//! which are the one retry loop's of this crate.

use std::time::{Duration, Instant};

use google_cloud_gax::backoff_policy::BackoffPolicy;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_gax::retry_state::RetryState;

use super::error::{CloudError, Fault};
use crate::resources::Api;

/// Why an attempt that failed may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A read was not answered.
    Read,
    /// The service is busy, or someone else changed the resource in between.
    Busy,
    /// Cloud Run takes few deployments of archives at once, and is out of capacity for minutes.
    RunCapacity,
    /// An account, a service agent, an API or a grant was just created, and not every service knows it yet. Google says
    /// two minutes and more: <https://cloud.google.com/iam/docs/access-change-propagation>.
    Propagation,
    /// Eventarc's service agent has no permissions yet: it gets them in the first minutes after a project's first
    /// trigger. <https://cloud.google.com/eventarc/docs/troubleshooting>
    EventarcAgent,
}

/// How long each cause is waited for, counted from the first failure, and what people read meanwhile.
const PATIENCE: [(Cause, Duration, &str); 5] = [
    (Cause::Read, Duration::from_secs(30), "the service to answer"),
    (Cause::Busy, Duration::from_secs(60), "the service to take the request"),
    (Cause::RunCapacity, Duration::from_secs(300), "Cloud Run to have capacity for the deployment"),
    (Cause::Propagation, Duration::from_secs(180), "what was just created to be known everywhere"),
    (
        Cause::EventarcAgent,
        Duration::from_secs(600),
        "Eventarc's service agent to get its permissions, as always at a project's first trigger",
    ),
];

/// What a service answers while something that was just created is unknown to it.
const NOT_PROPAGATED: [&str; 6] =
    ["does not exist", "not found", "not exist", "is not ready", "propagat", "Permission denied on secret"];

impl Cause {
    /// Why another attempt may help; `None` if it cannot. `created` says whether what the request needs was just
    /// created, `api` where it was sent to.
    pub fn of(error: &CloudError, created: bool, api: Api) -> Option<Self> {
        let says = |words: &&str| error.message.contains(*words);
        if matches!(error.fault, Fault::Denied | Fault::Wrong) && error.message.contains("Eventarc Service Agent") {
            return Some(Self::EventarcAgent);
        }
        match error.fault {
            Fault::Busy if api == Api::Run => Some(Self::RunCapacity),
            Fault::Busy | Fault::Passing | Fault::Conflict | Fault::Exists => Some(Self::Busy),
            Fault::Disabled | Fault::Missing if created => Some(Self::Propagation),
            Fault::Denied | Fault::Wrong if created && NOT_PROPAGATED.iter().any(says) => Some(Self::Propagation),
            _ => None,
        }
    }

    /// How long to wait for it, counted from the first failure.
    pub fn patience(self) -> Duration {
        self.row().1
    }

    /// What is waited for, for people.
    pub fn waits_for(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> (Self, Duration, &'static str) {
        PATIENCE.into_iter().find(|(cause, ..)| *cause == self).unwrap_or(PATIENCE[0])
    }
}

/// The pauses between the attempts at one thing.
#[derive(Debug)]
pub(crate) struct Retry {
    backoff: ExponentialBackoff,
    failures: u32,
    /// When each cause came first. A cause that comes and goes is waited for no longer than one that stays.
    first: Vec<(Cause, Instant)>,
}

impl Retry {
    /// Exponential backoff with pauses from about `min` to about `max`. They have jitter, so that several callers do
    /// not come back at once.
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        let backoff = ExponentialBackoffBuilder::new().with_initial_delay(min).with_maximum_delay(max);
        Self { backoff: backoff.build().unwrap_or_default(), failures: 0, first: Vec::new() }
    }

    /// Counts a failure, and returns how long to wait before the next attempt: at least what the service asks for.
    /// `None` if that attempt would come later after the cause's first failure than its patience.
    pub(crate) fn pause(&mut self, cause: Cause, asked: Option<Duration>, now: Instant) -> Option<Duration> {
        self.failures += 1;
        let first = match self.first.iter().find(|(other, _)| *other == cause) {
            Some((_, first)) => *first,
            None => {
                self.first.push((cause, now));
                now
            }
        };
        let jittered = self.backoff.on_failure(&RetryState::new(true).set_attempt_count(self.failures));
        let pause = asked.unwrap_or_default() + jittered;
        (now.duration_since(first) + pause <= cause.patience()).then_some(pause)
    }
}

/// The pauses between the attempts of a read.
const READ_BACKOFF_MIN: Duration = Duration::from_millis(50);
const READ_BACKOFF_MAX: Duration = Duration::from_secs(5);

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

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTARC: &str = "Permission denied while using the Eventarc Service Agent. If you recently started to use \
        Eventarc, it may take a few minutes before all necessary permissions are propagated to the Service Agent.";

    fn cause(fault: Fault, message: &str, created: bool) -> Option<Cause> {
        Cause::of(&CloudError::new(fault, message), created, Api::Eventarc)
    }

    #[test]
    fn each_cause_has_its_patience() {
        for (cause, seconds) in [
            (Cause::Read, 30),
            (Cause::Busy, 60),
            (Cause::RunCapacity, 300),
            (Cause::Propagation, 180),
            (Cause::EventarcAgent, 600),
        ] {
            assert_eq!(cause.patience().as_secs(), seconds, "{cause:?}");
        }
    }

    #[test]
    fn eventarcs_agent_is_waited_for_whatever_else_is_left_to_do() {
        for (fault, created) in [(Fault::Denied, false), (Fault::Wrong, false), (Fault::Denied, true)] {
            assert_eq!(cause(fault, EVENTARC, created), Some(Cause::EventarcAgent));
        }
    }

    #[test]
    fn other_refusals_end_at_once() {
        let denied = "Permission 'run.services.create' denied on resource 'projects/p'";
        assert_eq!(cause(Fault::Denied, denied, true), None);
        assert_eq!(cause(Fault::Denied, denied, false), None);
        assert_eq!(cause(Fault::Wrong, "the CPU is too small", true), None);
        assert_eq!(cause(Fault::Wrong, "Service account x does not exist.", false), None);
    }

    #[test]
    fn what_was_just_created_is_waited_for() {
        let agent = "Service account service-1@gcp-sa-pubsub.iam.gserviceaccount.com does not exist.";
        let act_as = "Permission 'iam.serviceaccounts.actAs' denied on service account x (or it may not exist).";
        for (fault, message) in [(Fault::Wrong, agent), (Fault::Denied, act_as), (Fault::Disabled, "disabled")] {
            assert_eq!(cause(fault, message, true), Some(Cause::Propagation), "{message}");
        }
    }

    #[test]
    fn cloud_run_is_waited_for_longer_where_it_is_out_of_capacity() {
        let busy = CloudError::new(Fault::Busy, "Resource has been exhausted (e.g. check quota).");
        assert_eq!(Cause::of(&busy, false, Api::Run), Some(Cause::RunCapacity));
        assert_eq!(Cause::of(&busy, false, Api::PubSub), Some(Cause::Busy));
        let cut = CloudError::new(Fault::Passing, "connection closed");
        assert_eq!(Cause::of(&cut, false, Api::Run), Some(Cause::Busy));
    }

    #[test]
    fn a_cause_is_waited_for_from_its_first_failure_on() {
        let mut retry = Retry::new(Duration::from_millis(500), Duration::from_secs(10));
        // The attempt before the first failure took as long as it did, and another cause has a time of its own.
        let began = Instant::now();
        assert!(retry.pause(Cause::Busy, None, began).is_some());
        let first = began + Duration::from_secs(600);
        assert!(retry.pause(Cause::RunCapacity, None, first).is_some());
        assert!(retry.pause(Cause::RunCapacity, None, first + Duration::from_secs(289)).is_some());
        assert_eq!(retry.pause(Cause::Busy, None, first), None);
        assert_eq!(retry.pause(Cause::RunCapacity, None, first + Duration::from_secs(301)), None);
    }

    #[test]
    fn pauses_are_drawn_and_no_shorter_than_the_service_asks() {
        let longest = Duration::from_secs(10);
        let drawn = || {
            let mut retry = Retry::new(Duration::from_millis(500), longest);
            let now = Instant::now();
            (0..8).map(|_| retry.pause(Cause::RunCapacity, None, now).unwrap_or_default()).collect::<Vec<_>>()
        };
        let (one, other) = (drawn(), drawn());
        assert_ne!(one, other, "two that wait come back together");
        assert!(
            one.iter().zip(0..).all(|(pause, n)| *pause <= Duration::from_millis(500 << n).min(longest)),
            "{one:?}"
        );
        let asked = Duration::from_secs(20);
        let pause =
            Retry::new(Duration::from_millis(500), longest).pause(Cause::RunCapacity, Some(asked), Instant::now());
        assert!(pause.is_some_and(|pause| pause >= asked), "{pause:?}");
        let asked = Duration::from_secs(301);
        let pause =
            Retry::new(Duration::from_millis(500), longest).pause(Cause::RunCapacity, Some(asked), Instant::now());
        assert_eq!(pause, None, "longer than its patience");
    }
}
