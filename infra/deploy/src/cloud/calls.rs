//! The calls that a kind of resource has.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde_json::Value;

use super::error::{CloudError, Fault};
use crate::plan::Change;
use crate::resources::Context;

/// The future of a call.
pub(super) type Call<'a, T> = BoxFuture<'a, Result<T, CloudError>>;

/// How the resources of one kind are read, created, changed and deleted, each as the JSON of its REST API.
///
/// A call that a kind lacks does nothing: a service agent is never deleted, since others use it too. Calls try once.
pub(super) trait Calls: fmt::Debug + Send + Sync {
    /// A resource as it is now. [`Fault::Missing`] if there is none.
    fn read<'a>(&'a self, at: &'a Context, name: &'a str) -> Call<'a, Value>;

    /// Every resource of this kind in the project and region.
    fn list<'a>(&'a self, _at: &'a Context) -> Call<'a, Vec<Value>> {
        ready(Ok(Vec::new())).boxed()
    }

    /// Creates a resource. [`Fault::Exists`] if there is one.
    fn create<'a>(&'a self, at: &'a Context, name: &'a str, body: Value) -> Call<'a, ()>;

    /// Changes a resource that was found. [`Fault::Conflict`] if someone else changed it since.
    fn update<'a>(&'a self, _at: &'a Context, _update: Update<'a>) -> Call<'a, ()> {
        nothing()
    }

    /// Deletes a resource. [`Fault::Missing`] if there is none.
    fn delete<'a>(&'a self, _name: &'a str) -> Call<'a, ()> {
        nothing()
    }

    /// The IAM policy of a resource, with its conditions.
    fn read_policy<'a>(&'a self, _at: &'a Context, name: &'a str) -> Call<'a, Value> {
        missing(name)
    }

    /// Replaces the IAM policy of a resource, unless its etag is an old one.
    fn write_policy<'a>(&'a self, _at: &'a Context, _name: &'a str, _policy: Value) -> Call<'a, ()> {
        nothing()
    }
}

/// A change of a resource that was found.
#[derive(Debug)]
pub(super) struct Update<'a> {
    pub(super) name: &'a str,
    pub(super) found: &'a Value,
    pub(super) declared: &'a Value,
    pub(super) changes: &'a [Change],
    /// The fields that the changes are in, as they should be, with the resource's name and etag. Nothing else that was
    /// found is sent back: an old revision's name, a launch stage, what only the server sets.
    pub(super) body: Value,
}

pub(super) fn nothing<'a>() -> Call<'a, ()> {
    ready(Ok(())).boxed()
}

pub(super) fn missing<'a, T: Send + 'a>(name: &str) -> Call<'a, T> {
    ready(Err(CloudError::new(Fault::Missing, format!("there is no {name}")))).boxed()
}
