//! Snapshots over REST.

use std::collections::BTreeMap;

use axum::http::Method;
use axum::response::Response;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tonic::Status;

use super::request::{no_method, parse};
use super::response::answer;
use super::scalars::{JsonTimestamp, mask};
use crate::shared::Shared;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Snapshot {
    name: String,
    topic: String,
    #[serde(alias = "expire_time", skip_serializing_if = "Option::is_none")]
    expire_time: Option<JsonTimestamp>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CreateSnapshotRequest {
    subscription: String,
    labels: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct UpdateSnapshotRequest {
    snapshot: Snapshot,
    #[serde(alias = "update_mask", deserialize_with = "mask")]
    update_mask: Vec<String>,
}

impl From<Snapshot> for pb::Snapshot {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { name, topic, expire_time, labels } = snapshot;
        Self { name, topic, expire_time: expire_time.map(|JsonTimestamp(time)| time), labels }
    }
}

impl From<pb::Snapshot> for Snapshot {
    fn from(snapshot: pb::Snapshot) -> Self {
        let pb::Snapshot { name, topic, expire_time, labels } = snapshot;
        Self { name, topic, expire_time: expire_time.map(JsonTimestamp), labels }
    }
}

/// A request to the snapshot of this name.
pub(super) async fn serve(shared: &Shared, method: &Method, name: &str, body: &[u8]) -> Result<Response, Status> {
    let snapshot = match *method {
        Method::PUT => {
            let CreateSnapshotRequest { subscription, labels, tags } = parse(body)?;
            let create = pb::CreateSnapshotRequest { name: name.into(), subscription, labels, tags };
            shared.update_durably(|state, now| state.create_snapshot(now, create)).await?
        }
        Method::GET => shared.with_state(|state, _| state.get_snapshot(name))?,
        Method::PATCH => {
            let UpdateSnapshotRequest { snapshot, update_mask } = parse(body)?;
            let snapshot = Some(pb::Snapshot { name: name.into(), ..snapshot.into() });
            let update_mask = Some(prost_types::FieldMask { paths: update_mask });
            let update = pb::UpdateSnapshotRequest { snapshot, update_mask };
            shared.update_durably(|state, _| state.update_snapshot(update)).await?
        }
        Method::DELETE => {
            shared.update_durably(|state, _| state.delete_snapshot(name)).await?;
            return Ok(answer(&json!({})));
        }
        _ => return Err(no_method(method, name)),
    };
    Ok(answer(&Snapshot::from(snapshot)))
}
