//! IAM policies of topics, subscriptions and snapshots: stored and returned, but never enforced.

use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use tonic::Status;

use super::State;
use crate::error::{invalid, not_found};
use crate::names::Kind;
use crate::policy::{EMPTY_ETAG, check_policy, check_version, merged};

impl State {
    /// # Errors
    /// NOT_FOUND; INVALID_ARGUMENT for what is no resource with a policy, or no version of policies.
    pub(crate) fn get_iam_policy(&self, request: &iam::GetIamPolicyRequest) -> Result<iam::Policy, Status> {
        self.check_resource(&request.resource)?;
        check_version(request.options.map_or(0, |options| options.requested_policy_version))?;
        Ok(self.policy(&request.resource))
    }

    /// Replaces a policy, if it is still the one that the caller read.
    ///
    /// # Errors
    /// As [`State::get_iam_policy`]; ABORTED when the policy has changed since it was read.
    pub(crate) fn set_iam_policy(&mut self, request: iam::SetIamPolicyRequest) -> Result<iam::Policy, Status> {
        let iam::SetIamPolicyRequest { resource, policy, update_mask } = request;
        self.check_resource(&resource)?;
        let Some(policy) = policy else { return Err(invalid("A request to set a policy needs a policy.")) };
        let current = self.policy(&resource);
        if !policy.etag.is_empty() && policy.etag != current.etag {
            return Err(Status::aborted(format!(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential \
                 backoff. (resource={resource})"
            )));
        }
        let mut policy = merged(current, policy, update_mask.as_ref())?;
        check_policy(&policy)?;
        if !policy.bindings.is_empty() {
            policy.version = policy.version.max(1);
        }
        self.last_uid += 1;
        policy.etag = self.last_uid.to_be_bytes().to_vec().into();
        self.policies.insert(resource.clone(), policy.clone());
        self.record_policy(&resource);
        Ok(policy)
    }

    /// All permissions that are asked for, since every caller has them here; none on a resource that does not exist.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for what is no resource with a policy, or no permission.
    pub(crate) fn test_iam_permissions(
        &self,
        request: iam::TestIamPermissionsRequest,
    ) -> Result<iam::TestIamPermissionsResponse, Status> {
        let iam::TestIamPermissionsRequest { resource, permissions } = request;
        let exists = self.exists(Kind::of(&resource)?, &resource);
        if let Some(wrong) = permissions.iter().find(|permission| permission.contains('*') || !permission.contains('.'))
        {
            return Err(invalid(format!(
                "Invalid permission given (permission={wrong}): it has the form pubsub.topics.publish, without \
                 wildcards."
            )));
        }
        Ok(iam::TestIamPermissionsResponse { permissions: if exists { permissions } else { Vec::new() } })
    }

    /// Removes the policy of a deleted resource.
    pub(super) fn remove_policy(&mut self, resource: &str) {
        if self.policies.remove(resource).is_some() {
            self.record_policy(resource);
        }
    }

    fn policy(&self, resource: &str) -> iam::Policy {
        let empty = || iam::Policy { etag: EMPTY_ETAG.into(), ..iam::Policy::default() };
        self.policies.get(resource).cloned().unwrap_or_else(empty)
    }

    fn check_resource(&self, resource: &str) -> Result<(), Status> {
        let kind = Kind::of(resource)?;
        if self.exists(kind, resource) { Ok(()) } else { Err(not_found(resource)) }
    }

    fn exists(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Topic => self.topics.contains_key(name),
            Kind::Subscription => self.subscriptions.contains_key(name),
            Kind::Snapshot => self.snapshots.contains_key(name),
        }
    }
}
