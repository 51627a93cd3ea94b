//! One resource, as it should be.

use serde_json::{Value, json};

use super::grant::Grant;
use super::kind::Id;

/// The label that says which deployment a resource belongs to: its value is the deployment's name.
pub const DEPLOYMENT_LABEL: &str = "ai-workloads-deployment";

/// A resource as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// Which one.
    pub id: Id,
    /// The fields that are kept as they are declared. Fields that a body leaves out are never compared or changed.
    pub body: Value,
    /// Fields that matter when it is created and never after.
    pub creation: Value,
    /// What has to exist before.
    pub needs: Vec<Id>,
    /// The roles that it needs its accounts, or Pub/Sub's service agent, to have.
    pub grants: Vec<Grant>,
}

impl Resource {
    /// A resource with this body that needs nothing.
    pub fn new(id: Id, body: Value) -> Self {
        Self { id, body, creation: json!({}), needs: Vec::new(), grants: Vec::new() }
    }
}
