//! What the clients of all APIs share: how one is built, how pages are collected, and the JSON on both sides.

use std::time::Duration;

use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_iam_v1::model::GetPolicyOptions;
use google_cloud_wkt::FieldMask;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CloudError, Fault};
use crate::plan::{self, Change};

/// How often the operation of a stand-in is polled: it takes no time there.
const LOCAL_POLL_MIN: Duration = Duration::from_millis(5);
const LOCAL_POLL_MAX: Duration = Duration::from_millis(50);

/// A client at the endpoint and with the credentials that the settings say. It tries once: `apply` decides what is
/// tried again.
macro_rules! build_client {
    ($client:ident, $settings:expr, $api:expr) => {{
        let endpoint = $settings.endpoint($api);
        let credentials = $settings
            .credentials($api)
            .map_err(|error| $crate::cloud::CloudError::new($crate::cloud::Fault::Denied, error.to_string()))?;
        let mut builder = $client::builder()
            .with_credentials(credentials)
            .with_retry_policy(google_cloud_gax::retry_policy::NeverRetry);
        if endpoint.is_local() {
            builder = builder.with_polling_backoff_policy($crate::cloud::client::local_polling());
        }
        if let Some(url) = endpoint.url {
            builder = builder.with_endpoint(url);
        }
        builder.build().await.map_err(|error| {
            let message = format!("cannot make a client for {}: {error}", $api.service());
            $crate::cloud::CloudError::new($crate::cloud::Fault::Wrong, message)
        })?
    }};
}
pub(super) use build_client;

/// Every item of a paged list, each as JSON by the function. A macro, since the bound of the pages' trait is internal
/// to its crate.
macro_rules! collect_pages {
    ($items:expr, $to_json:path) => {{
        use google_cloud_gax::paginator::ItemPaginator;
        let mut items = $items;
        let mut all = Vec::new();
        while let Some(item) = items.next().await {
            all.push($to_json(&item?)?);
        }
        Ok(all)
    }};
}
pub(super) use collect_pages;

pub(super) fn local_polling() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new().with_initial_delay(LOCAL_POLL_MIN).with_maximum_delay(LOCAL_POLL_MAX).clamp()
}

/// A body as the client's type. A body that does not fit is a mistake of this program.
pub(super) fn model<T: DeserializeOwned>(body: Value) -> Result<T, CloudError> {
    serde_json::from_value(body)
        .map_err(|error| CloudError::new(Fault::Wrong, format!("a body that the API lacks: {error}")))
}

/// A client's type as JSON.
pub(super) fn value(model: &impl Serialize) -> Result<Value, CloudError> {
    serde_json::to_value(model)
        .map_err(|error| CloudError::new(Fault::Wrong, format!("an answer without JSON: {error}")))
}

/// The fields of an update mask: the first part of each path.
pub(super) fn mask(changes: &[Change]) -> FieldMask {
    let mut paths: Vec<&str> = changes.iter().map(Change::top).collect();
    paths.sort_unstable();
    paths.dedup();
    FieldMask::default().set_paths(paths)
}

/// Policies are read with their conditions, or a write would lose those that others set:
/// <https://cloud.google.com/iam/docs/policies#versions>.
pub(super) fn requested_version() -> GetPolicyOptions {
    GetPolicyOptions::new().set_requested_policy_version(plan::POLICY_VERSION)
}

/// Splits a full name at its last collection: `projects/P/topics/T` at `/topics/`.
pub(super) fn split<'n>(name: &'n str, collection: &str, noun: &str) -> Result<(&'n str, &'n str), CloudError> {
    name.split_once(collection).ok_or_else(|| CloudError::new(Fault::Wrong, format!("`{name}` is no name of a {noun}")))
}
