//! The table of all kinds: which row is whose.

use std::fmt;

use super::export::{Block, Export, Member};
use super::kind::{Api, Id, Kind, Target};
use super::resource::Resource;
use super::spec::{Permission, Spec};
use super::{
    api, archive, bucket, policy, secret, service, service_account, service_agent, subscription, topic, trigger,
};

impl Kind {
    /// The row of this kind.
    pub(crate) fn spec(self) -> &'static Spec {
        match self {
            Self::Api => &api::SPEC,
            Self::ServiceAgent => &service_agent::SPEC,
            Self::ServiceAccount => &service_account::SPEC,
            Self::Secret => &secret::SPEC,
            Self::Bucket => &bucket::SPEC,
            Self::Archive => &archive::SPEC,
            Self::Topic => &topic::SPEC,
            Self::Service => &service::SPEC,
            Self::Subscription => &subscription::SPEC,
            Self::Trigger => &trigger::SPEC,
            Self::TriggerSubscription => &trigger::SUBSCRIPTION_SPEC,
            Self::Policy(target) => policy::spec(target),
        }
    }

    /// What people call it.
    pub fn noun(self) -> &'static str {
        self.spec().noun
    }

    /// The API that has to be enabled before such a resource can be read.
    pub fn api(self) -> Api {
        self.spec().api
    }

    /// The type of resource that Terraform has for this kind.
    pub(crate) fn block(self) -> Option<&'static Block> {
        match &self.spec().export {
            Export::Resource(block) => Some(block),
            Export::None | Export::Member(_) => None,
        }
    }
}

impl Target {
    /// The type of resource by which Terraform grants a role.
    pub(crate) fn member(self) -> Option<&'static Member> {
        match &policy::spec(self).export {
            Export::Member(member) => Some(member),
            Export::None | Export::Resource(_) => None,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.noun(), self.short())
    }
}

/// The permissions that deploying these resources takes, each once; `enables` says whether an API has to be enabled, or
/// a service agent created.
pub fn permissions(declared: &[Resource], enables: bool) -> Vec<Permission> {
    let kinds = Kind::ALL.into_iter().filter(|kind| declared.iter().any(|resource| resource.id.kind == *kind));
    let mut all: Vec<Permission> = enables.then_some(api::ENABLE).into_iter().collect();
    for permission in kinds.flat_map(|kind| kind.spec().permissions) {
        if !all.contains(permission) {
            all.push(*permission);
        }
    }
    all
}

/// Every permission that deploying some topology takes.
pub fn all_permissions() -> impl Iterator<Item = Permission> {
    let kinds = Kind::ALL.into_iter().flat_map(|kind| kind.spec().permissions);
    [api::ENABLE].into_iter().chain(kinds.copied())
}
