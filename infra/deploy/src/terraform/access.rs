//! Who may do what: one resource for each grant.

use serde_json::{Map, Value, json};

use super::Document;
use super::render::{AGENT, identifier, plain};
use crate::resources::export::PROJECT;
use crate::resources::{CONDITION, Grant, IF, Id, Kind, Resource, Target};

impl Document<'_> {
    /// Adds what a resource needs to be granted, and returns the name of each grant within the file.
    pub(super) fn grants(&mut self, resource: &Resource) -> Vec<(Target, String)> {
        let mut named = Vec::new();
        for grant in &resource.grants {
            let Some(member) = grant.target.member() else { continue };
            let granted_on = self.granted_on(grant);
            let name = self.grant_name(resource, grant, &granted_on);
            let (role, condition) = match grant.role.split_once(IF) {
                Some((role, condition)) => (role, Some(self.condition(condition, &granted_on))),
                None => (grant.role.as_str(), None),
            };
            let mut body = Map::from_iter([
                (member.argument.to_owned(), granted_on.into()),
                ("role".to_owned(), role.into()),
                ("member".to_owned(), self.member(&grant.member).into()),
            ]);
            body.extend(condition.map(|condition| ("condition".to_owned(), condition)));
            body.extend(member.arguments.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())));
            body.extend(self.depends_on(grant.target.kind(), member.depends_on, &[]));
            let name = self.add(member.resource, name, body);
            named.push((grant.target, format!("{}.{name}", member.resource)));
        }
        named
    }

    /// What a role is granted on: a resource of the file, or one that exists.
    fn granted_on(&self, grant: &Grant) -> String {
        let Some(member) = grant.target.member() else { return String::new() };
        let (kind, attribute) = member.refers_to;
        let id = Id::new(kind, grant.name.clone());
        if self.names.has(&id) {
            return self.names.attribute(&id, attribute);
        }
        // A name without a project is one of the project that Terraform works in.
        let own = grant.name.strip_prefix(&format!("projects/{PROJECT}/")).map(|_| id.short());
        plain(own.unwrap_or(&grant.name))
    }

    fn member(&self, member: &str) -> String {
        if *member == format!("serviceAccount:{}", self.context.pubsub_agent()) {
            return AGENT.to_owned();
        }
        self.names.text(member)
    }

    /// The same condition, of a bucket that is perhaps one of the file.
    fn condition(&self, expression: &str, bucket: &str) -> Value {
        let mut expression = plain(expression);
        if let Some(own) = &self.bucket {
            expression = expression.replacen(&format!("/buckets/{}/", plain(own)), &format!("/buckets/{bucket}/"), 1);
        }
        json!({"title": CONDITION, "expression": expression})
    }

    /// A name that tells who needs the grant, and on what. Parts that are no declared name begin with `_`, which
    /// declared names do not.
    fn grant_name(&self, resource: &Resource, grant: &Grant, granted_on: &str) -> String {
        let local = |kind: Kind, name: &str| self.names.local(&Id::new(kind, name)).to_owned();
        let needed_by = self.names.local(&resource.id);
        let name = grant.name.as_str();
        match grant.target {
            Target::ServiceAccount => local(Kind::ServiceAccount, name),
            Target::Service if resource.id.kind == Kind::Trigger => format!("{}__trigger", local(Kind::Service, name)),
            Target::Service => format!("{}_{needed_by}", local(Kind::Service, name)),
            // Whatever forwards dead letters to a topic, the agent needs one grant there.
            Target::Topic if self.member(&grant.member) == AGENT => format!("agent__{}", local(Kind::Topic, name)),
            Target::Topic => format!("{needed_by}_{}", local(Kind::Topic, name)),
            Target::Bucket if grant.role.contains(IF) => format!("{needed_by}_{}_ledger", identifier(name)),
            Target::Bucket => format!("{needed_by}_{}", identifier(name)),
            Target::Secret => format!("{needed_by}_{}", identifier(granted_on)),
            Target::Subscription => format!("subscription__{}", local(Kind::Subscription, name)),
            Target::TriggerSubscription => format!("trigger__{}", local(Kind::Trigger, name)),
        }
    }
}
