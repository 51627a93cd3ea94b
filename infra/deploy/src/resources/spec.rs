//! What deploying has to know of a kind of resource: the form of the row that stands in each kind's file.

use serde_json::Value;

use super::export::Export;
use super::kind::Api;

/// What deploying has to know of a kind of resource beside its bodies.
pub(crate) struct Spec {
    /// What people call it.
    pub(crate) noun: &'static str,
    /// What JSON calls it: the output of `plan --json`, snapshots.
    pub(crate) code: &'static str,
    /// The API that has to be enabled before such a resource can be read.
    pub(crate) api: Api,
    /// How a resource shows which deployment created it.
    pub(crate) mark: Mark,
    /// Fields that cannot be changed, each with what a replacement costs.
    pub(crate) immutable: &'static [(&'static str, &'static str)],
    /// What `deploy` and `destroy` do with such a resource.
    pub(crate) permissions: &'static [Permission],
    /// What matters of a body, in one line of a plan; empty if the name says all.
    pub(crate) summary: fn(&Value) -> String,
    /// How Terraform writes it.
    pub(crate) export: Export,
}

/// How a resource shows which deployment created it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// By the label [`DEPLOYMENT_LABEL`](super::DEPLOYMENT_LABEL).
    Label,
    /// By its description, since such resources have no labels.
    Description,
    /// Not at all: it belongs to another resource, or is not created here.
    None,
}

/// A permission of IAM, and the predefined role to ask for where it is missing:
/// <https://cloud.google.com/iam/docs/roles-permissions>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    /// `pubsub.topics.create` for example.
    pub name: &'static str,
    /// `roles/pubsub.admin` for example.
    pub role: &'static str,
}

impl Spec {
    /// A kind that has nothing but its names and its API.
    pub(super) const fn new(noun: &'static str, code: &'static str, api: Api) -> Self {
        Self {
            noun,
            code,
            api,
            mark: Mark::None,
            immutable: &[],
            permissions: &[],
            summary: |_| String::new(),
            export: Export::None,
        }
    }
}

impl Permission {
    pub(super) const fn new(name: &'static str, role: &'static str) -> Self {
        Self { name, role }
    }
}
