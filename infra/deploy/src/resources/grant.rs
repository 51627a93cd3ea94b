//! Roles, and the grants that resources need. No role is granted on the whole project, and none to everyone.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::{Id, Kind, Target};

/// Publishes to a topic.
pub(super) const PUBLISHER: &str = "roles/pubsub.publisher";

/// Acknowledges messages of a subscription.
pub(super) const SUBSCRIBER: &str = "roles/pubsub.subscriber";

/// Invokes a service.
pub(super) const INVOKER: &str = "roles/run.invoker";

/// Reads a secret.
pub(super) const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

/// Writes objects and reads them again.
pub(super) const OBJECT_USER: &str = "roles/storage.objectUser";

/// Pub/Sub signs the tokens of pushes, Eventarc's own among them, as the account that they are from.
/// <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>
pub(crate) const TOKEN_CREATOR: &str = "roles/iam.serviceAccountOpenIdTokenCreator";

/// The roles that a deployment grants, and revokes from its own accounts.
pub(crate) const ROLES: [&str; 6] = [TOKEN_CREATOR, PUBLISHER, SUBSCRIBER, INVOKER, ACCESSOR, OBJECT_USER];

/// The title of the conditions that a deployment sets.
pub(crate) const CONDITION: &str = "ai-workloads";

/// Between a role and its condition.
pub(crate) const IF: &str = " if ";

/// Roles, each with its condition if it has one ([`within`]), and who has each.
pub(crate) type Bindings = BTreeMap<String, BTreeSet<String>>;

/// A role that a resource needs someone to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What the role is granted on.
    pub target: Target,
    /// The full name of that resource.
    pub name: String,
    /// The role, with its condition if it has one.
    pub role: String,
    /// `serviceAccount:EMAIL`
    pub member: String,
}

impl Grant {
    /// The policy that contains it.
    pub fn policy(&self) -> Id {
        Id::new(Kind::Policy(self.target), self.name.clone())
    }
}

/// A role under a condition of IAM: <https://cloud.google.com/iam/docs/conditions-overview>.
pub(crate) fn within(role: &str, condition: &str) -> String {
    format!("{role}{IF}{condition}")
}

/// The condition that the resource is an object with this prefix, or the bucket itself: an account that may not list a
/// bucket is not told that an object does not exist.
pub(crate) fn objects(bucket: &str, prefix: &str) -> String {
    // Neither the name nor the prefix can end the string early.
    let prefix = prefix.replace('\\', r"\\").replace('"', r#"\""#);
    format!(
        "resource.type == \"storage.googleapis.com/Bucket\" || \
            resource.name.startsWith(\"projects/_/buckets/{bucket}/objects/{prefix}\")"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_cannot_end_the_condition() {
        let condition = objects("b", r#"a"\b/"#);
        assert!(condition.ends_with(r#"startsWith("projects/_/buckets/b/objects/a\"\\b/")"#), "{condition}");
    }
}
