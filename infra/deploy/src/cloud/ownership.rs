//! Which project a bucket belongs to.

use serde_json::Value;

use super::error::{CloudError, Fault};
use super::google::Google;
use super::storage::Buckets;
use crate::resources::Context;

impl Google {
    /// A bucket of this project.
    ///
    /// # Errors
    /// [`Fault::Required`] if the bucket is another project's or cannot be read; else the call failed.
    pub async fn own_bucket(&self, name: &str) -> Result<Value, CloudError> {
        self.buckets.read_own(&self.context, name).await
    }
}

impl Buckets {
    /// A bucket of this project. The names of buckets are shared by all of Google Cloud: another project's is refused,
    /// even where it can be read and written, since what runs comes out of it.
    pub(super) async fn read_own(&self, at: &Context, name: &str) -> Result<Value, CloudError> {
        let refused = |why: &str, help: &str| {
            let message = format!(
                "bucket `{name}` {why}\n  \
                    help: declare another name, in `[archive] bucket` or where the topology names it{help}"
            );
            CloudError::new(Fault::Required, message)
        };
        let found = match self.read_any(name).await {
            Err(error) if error.fault == Fault::Denied => {
                let why = format!("cannot be read, so it is probably another project's: {}", error.message);
                return Err(refused(&why, "; if it is your project's, ask for roles/storage.admin on it"));
            }
            answer => answer?,
        };
        let owner = match &found["projectNumber"] {
            Value::String(owner) => owner.clone(),
            Value::Number(owner) => owner.to_string(),
            _ => String::new(),
        };
        // fake-gcs-server has no projects.
        let unknown = ["", "0"].contains(&owner.as_str()) && self.local;
        if owner == at.number || unknown {
            return Ok(found);
        }
        let Context { project, number, .. } = at;
        let whose = if owner.is_empty() { "an unknown project".to_owned() } else { format!("project {owner}") };
        Err(refused(&format!("belongs to {whose}, not to `{project}` ({number})"), ""))
    }
}
