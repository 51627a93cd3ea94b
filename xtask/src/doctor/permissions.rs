//! The permissions that deploying a topology takes, and the fewest predefined roles that hold them.
//! <https://cloud.google.com/iam/docs/roles-permissions>

use deploy::resources::all_permissions;

/// The role of which every other role here holds the permissions too.
const PROJECT_VIEW: &str = "roles/browser";

/// The fewest predefined roles that hold these permissions.
pub(super) fn roles(missing: &[&str]) -> Vec<&'static str> {
    let mut roles: Vec<&str> = Vec::new();
    for permission in all_permissions() {
        if missing.contains(&permission.name) && !roles.contains(&permission.role) {
            roles.push(permission.role);
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
    use deploy::resources::{Context, declared, permissions};
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
        let needed = permissions(&declared(&topology, &context), enables);
        let mut permissions: Vec<&str> = needed.iter().map(|permission| permission.name).collect();
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
