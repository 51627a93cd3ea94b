//! What an account needs to deploy a topology, and the predefined roles that give it.
//! <https://cloud.google.com/iam/docs/roles-permissions>

use deploy::plan::{Kind, Resource, Target};

/// The role that gives what every other role here gives too.
const PROJECT_VIEW: &str = "roles/browser";

/// When a permission is needed.
enum Need {
    Always,
    /// An API has to be enabled, or a service agent created.
    Enabling,
    /// Something of this kind is declared.
    Declared(Kind),
}

use Need::{Always, Declared, Enabling};

/// What `deploy` and `destroy` do in a project, and the predefined role that allows it.
const PERMISSIONS: [(Need, &str, &str); 26] = [
    (Always, "resourcemanager.projects.get", PROJECT_VIEW),
    (Always, "serviceusage.services.list", "roles/serviceusage.serviceUsageViewer"),
    (Enabling, "serviceusage.services.enable", "roles/serviceusage.serviceUsageAdmin"),
    (Declared(Kind::ServiceAccount), "iam.serviceAccounts.create", "roles/iam.serviceAccountAdmin"),
    (Declared(Kind::ServiceAccount), "iam.serviceAccounts.delete", "roles/iam.serviceAccountAdmin"),
    (
        Declared(Kind::Policy(Target::ServiceAccount)),
        "iam.serviceAccounts.setIamPolicy",
        "roles/iam.serviceAccountAdmin",
    ),
    (Declared(Kind::Service), "iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
    (Declared(Kind::Policy(Target::ServiceAccount)), "iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
    (Declared(Kind::Bucket), "storage.buckets.create", "roles/storage.admin"),
    (Declared(Kind::Bucket), "storage.buckets.update", "roles/storage.admin"),
    (Declared(Kind::Policy(Target::Bucket)), "storage.buckets.setIamPolicy", "roles/storage.admin"),
    (Declared(Kind::Archive), "storage.objects.create", "roles/storage.admin"),
    (Declared(Kind::Topic), "pubsub.topics.create", "roles/pubsub.admin"),
    (Declared(Kind::Policy(Target::Topic)), "pubsub.topics.setIamPolicy", "roles/pubsub.admin"),
    (Declared(Kind::Subscription), "pubsub.subscriptions.create", "roles/pubsub.admin"),
    (Declared(Kind::Subscription), "pubsub.subscriptions.update", "roles/pubsub.admin"),
    (Declared(Kind::TriggerSubscription), "pubsub.subscriptions.update", "roles/pubsub.admin"),
    (Declared(Kind::Policy(Target::Subscription)), "pubsub.subscriptions.setIamPolicy", "roles/pubsub.admin"),
    (Declared(Kind::Policy(Target::TriggerSubscription)), "pubsub.subscriptions.setIamPolicy", "roles/pubsub.admin"),
    (Declared(Kind::Service), "run.services.create", "roles/run.admin"),
    (Declared(Kind::Policy(Target::Service)), "run.services.setIamPolicy", "roles/run.admin"),
    (Declared(Kind::Trigger), "eventarc.triggers.create", "roles/eventarc.admin"),
    (Declared(Kind::Trigger), "eventarc.triggers.delete", "roles/eventarc.admin"),
    (Declared(Kind::Secret), "secretmanager.secrets.get", "roles/secretmanager.admin"),
    (Declared(Kind::Policy(Target::Secret)), "secretmanager.secrets.getIamPolicy", "roles/secretmanager.admin"),
    (Declared(Kind::Policy(Target::Secret)), "secretmanager.secrets.setIamPolicy", "roles/secretmanager.admin"),
];

/// The permissions, each once with its role, that what is declared needs; `enables` says whether an API has to be enabled, or an agent created.
pub(super) fn needed(declared: &[Resource], enables: bool) -> Vec<(&'static str, &'static str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for (need, permission, role) in PERMISSIONS {
        let needed = match need {
            Always => true,
            Enabling => enables,
            Declared(kind) => declared.iter().any(|resource| resource.id.kind == kind),
        };
        if needed && !all.iter().any(|(other, _)| *other == permission) {
            all.push((permission, role));
        }
    }
    all
}

/// The fewest predefined roles that give these permissions.
pub(super) fn roles(missing: &[&str]) -> Vec<&'static str> {
    let mut roles: Vec<&str> = Vec::new();
    for (_, permission, role) in PERMISSIONS {
        if missing.contains(&permission) && !roles.contains(&role) {
            roles.push(role);
        }
    }
    if roles.contains(&"roles/serviceusage.serviceUsageAdmin") {
        roles.retain(|role| *role != "roles/serviceusage.serviceUsageViewer");
    }
    if roles.len() > 1 {
        roles.retain(|role| *role != PROJECT_VIEW);
    }
    roles
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use deploy::plan::{Context, declared};
    use infra::topology::Topology;

    use super::*;

    fn of(text: &str, enables: bool) -> Vec<&'static str> {
        let topology = Topology::parse(text, "t.toml").unwrap_or_else(|errors| panic!("{errors}"));
        let context = Context {
            project: "my-project".to_owned(),
            number: "1".to_owned(),
            region: "europe-west1".to_owned(),
            archive: None,
        };
        let needed = needed(&declared(&topology, &context), enables);
        let mut permissions: Vec<&str> = needed.iter().map(|(permission, _)| *permission).collect();
        permissions.sort_unstable();
        permissions.dedup();
        assert_eq!(permissions.len(), needed.len(), "one of them twice");
        permissions
    }

    #[test]
    fn a_topology_needs_no_role_of_what_it_does_not_declare() {
        let topic = "[topics.work]\n";
        assert_eq!(roles(&of(topic, false)), ["roles/serviceusage.serviceUsageViewer", "roles/pubsub.admin"]);
        assert_eq!(roles(&of(topic, true)), ["roles/serviceusage.serviceUsageAdmin", "roles/pubsub.admin"]);
        let all = roles(&of(include_str!("../../../infra/topology.toml"), true)).join(" ");
        for role in
            ["run.admin", "eventarc.admin", "storage.admin", "iam.serviceAccountUser", "iam.serviceAccountAdmin"]
        {
            assert!(all.contains(role), "{all}");
        }
        for role in ["browser", "secretmanager", "TokenCreator", "eventReceiver", "roles/owner", "roles/editor"] {
            assert!(!all.contains(role), "{all}");
        }
        let secret = "[services.s]\ntimeout = \"10s\"\nservice-account = \"runner\"\nsecrets = { A = \"a\" }\n[service-accounts.runner]\n";
        assert!(roles(&of(secret, false)).contains(&"roles/secretmanager.admin"));
        assert!(!roles(&of(secret, false)).contains(&"roles/eventarc.admin"));
    }

    #[test]
    fn the_role_that_all_others_hold_is_named_only_alone() {
        assert_eq!(roles(&["resourcemanager.projects.get"]), ["roles/browser"]);
        assert_eq!(roles(&["resourcemanager.projects.get", "run.services.create"]), ["roles/run.admin"]);
    }
}
