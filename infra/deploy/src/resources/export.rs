//! How resources are written in Terraform: the form of the tables that stand in each kind's file.
//! [`terraform`](crate::terraform) renders by them.
//!
//! A body is rendered whole: a field without a row is written under its own name in snake case. A setting that is added
//! to a resource is therefore exported too, unless a row leaves it out and says why.

use serde_json::{Map, Value, json};

use super::kind::Kind;
use super::resource::{DEPLOYMENT_LABEL, Resource};

/// Stands for the project's id in the values that are exported. Control characters, since no declaration contains them.
pub(crate) const PROJECT: &str = "\u{1}project\u{1}";

/// Stands for the project's number.
pub(crate) const NUMBER: &str = "\u{1}number\u{1}";

/// Stands for the region.
pub(crate) const REGION: &str = "\u{1}region\u{1}";

/// Stands for the bucket of the archive where the topology declares none.
pub(crate) const ARCHIVE_BUCKET: &str = "\u{1}archive_bucket\u{1}";

/// Where Terraform's trigger has the name of its subscription.
pub(crate) const SUBSCRIPTION_ATTRIBUTE: &str = "transport[0].pubsub[0].subscription";

/// How Terraform has a kind of resource.
pub(crate) enum Export {
    /// Not at all.
    None,
    /// As a resource.
    Resource(Block),
    /// A policy as one resource for each grant.
    Member(Member),
}

/// A type of resource of the providers `google` and `google-beta`.
pub(crate) struct Block {
    /// `google_pubsub_topic`
    pub(crate) resource: &'static str,
    /// The name within the file, made of the name without project and region.
    pub(crate) name: fn(&str) -> &str,
    /// Arguments that are no fields of the body, as Terraform writes them.
    pub(crate) arguments: fn(&Resource) -> Value,
    /// The fields whose name or form differs, by their path in the body. Items of a list have the path of the list.
    pub(crate) fields: &'static [(&'static str, Field)],
    /// Which needs are written down: the others follow from references.
    pub(crate) depends_on: &'static [Kind],
}

/// A type of resource that grants one role to one member.
pub(crate) struct Member {
    /// `google_pubsub_topic_iam_member`
    pub(crate) resource: &'static str,
    /// The argument that names what the role is granted on.
    pub(crate) argument: &'static str,
    /// The kind of that resource, and its attribute that the argument takes.
    pub(crate) refers_to: (Kind, &'static str),
    /// Further arguments, as Terraform writes them.
    pub(crate) arguments: &'static [(&'static str, &'static str)],
    /// Which needs are written down: the others follow from references.
    pub(crate) depends_on: &'static [Kind],
}

/// How a field is written that is not written as it stands.
pub(crate) enum Field {
    /// Under this name.
    Named(&'static str),
    /// Its fields are written one level higher.
    Flattened,
    /// As a reference to this attribute of the declared resource of this kind and short name.
    Reference(Kind, &'static str),
    /// As this function says; left out if it returns null.
    Written(fn(&Value, &Resource) -> Value),
    /// Not at all.
    Omitted,
}

/// The rows of every kind.
pub(crate) const COMMON: &[(&str, Field)] = &[("labels", Field::Written(declared_labels))];

/// Terraform has a record of what it created and needs no label for that.
fn declared_labels(labels: &Value, _: &Resource) -> Value {
    let labels: Map<String, Value> = match labels {
        Value::Object(labels) => labels.clone().into_iter().filter(|(key, _)| key != DEPLOYMENT_LABEL).collect(),
        _ => Map::new(),
    };
    if labels.is_empty() { Value::Null } else { labels.into() }
}

/// An empty text is left out.
pub(super) fn unless_empty(text: &Value, _: &Resource) -> Value {
    if *text == "" { Value::Null } else { text.clone() }
}

/// The name alone, as most types of resources take it.
pub(super) fn named(resource: &Resource) -> Value {
    json!({"name": resource.id.short()})
}

/// The whole short name.
pub(super) fn own_name(short: &str) -> &str {
    short
}

/// `run` of `run.googleapis.com`.
pub(super) fn first_label(short: &str) -> &str {
    short.split('.').next().unwrap_or(short)
}
