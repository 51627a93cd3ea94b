//! What is worth waiting for, and for how long: one table from cause to patience.

use std::time::Duration;

use super::error::{CloudError, Fault};

/// Why an attempt that failed may succeed later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The service is busy, or someone else changed the resource in between.
    Busy,
    /// An account, a service agent, an API or a grant was just created, and not every service knows it yet. Google says two
    /// minutes and more: <https://cloud.google.com/iam/docs/access-change-propagation>.
    Propagation,
    /// Eventarc's service agent has no permissions yet: it gets them in the first minutes after a project's first trigger.
    /// <https://cloud.google.com/eventarc/docs/troubleshooting>
    EventarcAgent,
}

/// How long each cause is waited for, counted from the first failure, and what a person is told.
const TABLE: [(Cause, Duration, &str); 3] = [
    (Cause::Busy, Duration::from_secs(60), "the service to take the request"),
    (Cause::Propagation, Duration::from_secs(180), "what was just created to be known everywhere"),
    (
        Cause::EventarcAgent,
        Duration::from_secs(600),
        "Eventarc's service agent to get its permissions, as always at a project's first trigger",
    ),
];

/// What a service answers while something new is unknown to it.
const UNKNOWN: [&str; 6] =
    ["does not exist", "not found", "not exist", "is not ready", "propagat", "Permission denied on secret"];

impl Cause {
    /// Why trying again may help; `None` if it does not. `created` says whether what the request needs was just created.
    pub fn of(error: &CloudError, created: bool) -> Option<Self> {
        let says = |words: &&str| error.message.contains(*words);
        if matches!(error.fault, Fault::Denied | Fault::Wrong) && error.message.contains("Eventarc Service Agent") {
            return Some(Self::EventarcAgent);
        }
        match error.fault {
            Fault::Passing | Fault::Conflict | Fault::Exists => Some(Self::Busy),
            Fault::Disabled | Fault::Missing if created => Some(Self::Propagation),
            Fault::Denied | Fault::Wrong if created && UNKNOWN.iter().any(says) => Some(Self::Propagation),
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
        TABLE.into_iter().find(|(cause, ..)| *cause == self).unwrap_or(TABLE[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTARC: &str = "Permission denied while using the Eventarc Service Agent. If you recently started to use \
        Eventarc, it may take a few minutes before all necessary permissions are propagated to the Service Agent.";

    fn cause(fault: Fault, message: &str, created: bool) -> Option<Cause> {
        Cause::of(&CloudError::new(fault, message), created)
    }

    #[test]
    fn each_cause_has_its_patience() {
        for (cause, seconds) in [(Cause::Busy, 60), (Cause::Propagation, 180), (Cause::EventarcAgent, 600)] {
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
}
