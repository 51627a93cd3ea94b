//! Names of resources: `projects/P/topics/T`, `projects/P/subscriptions/S`, `projects/P/snapshots/S`.

use tonic::Status;

use super::error::invalid;

/// The topic that a subscription names once its own is deleted.
pub(super) const DELETED_TOPIC: &str = "_deleted-topic_";

/// A kind of resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Topic,
    Subscription,
    Snapshot,
}

impl Kind {
    fn collection(self) -> &'static str {
        match self {
            Self::Topic => "topics",
            Self::Subscription => "subscriptions",
            Self::Snapshot => "snapshots",
        }
    }

    /// The kind of resource that a full name names.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no such name.
    pub(super) fn of(name: &str) -> Result<Self, Status> {
        let collection = name.split('/').nth(2);
        let kinds = [Self::Topic, Self::Subscription, Self::Snapshot];
        let kind = kinds.into_iter().find(|kind| collection == Some(kind.collection())).unwrap_or(Self::Topic);
        kind.check(name).map(|()| kind)
    }

    /// Checks a full name against <https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>.
    pub(super) fn check(self, name: &str) -> Result<(), Status> {
        let mut parts = name.split('/');
        let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
        let right = match parts {
            [Some("projects"), Some(project), Some(collection), Some(id), None] => {
                collection == self.collection() && is_project(project) && is_id(id)
            }
            _ => false,
        };
        if right {
            return Ok(());
        }
        Err(invalid(format!(
            "Invalid resource name given (name={name}). Refer to \
             https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information."
        )))
    }
}

/// Checks `projects/P`.
pub(super) fn check_project(name: &str) -> Result<(), Status> {
    match name.strip_prefix("projects/") {
        Some(project) if is_project(project) => Ok(()),
        _ => Err(invalid(format!("Invalid project name given (name={name}); it has the form projects/PROJECT."))),
    }
}

/// The project of a resource's full name.
pub(super) fn project(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or_default()
}

fn is_project(project: &str) -> bool {
    // Old projects have a domain: `example.com:name`.
    (1..=63).contains(&project.len())
        && project.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte))
}

fn is_id(id: &str) -> bool {
    (3..=255).contains(&id.len())
        && id.starts_with(|first: char| first.is_ascii_alphabetic())
        && !id.starts_with("goog")
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte))
}
