//! Errors as Pub/Sub words them.

use std::collections::BTreeMap;

use prost::Message as _;
use tonic::{Code, Status};

/// The last part of a resource's name.
fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

pub(super) fn not_found(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={}).", id(name)))
}

pub(super) fn already_exists(name: &str) -> Status {
    Status::already_exists(format!("Resource already exists in the project (resource={}).", id(name)))
}

pub(super) fn invalid(message: impl Into<String>) -> Status {
    Status::invalid_argument(message)
}

/// A number that is outside of what is allowed.
pub(super) fn out_of_bounds(field: &str, value: impl std::fmt::Display, bounds: &str) -> Status {
    invalid(format!("Invalid value for {field}: {value} is not within {bounds}."))
}

/// Some acknowledgement ids are of deliveries that are over; with exactly-once delivery that is an error. The clients
/// read the reason of each id in the details.
pub(super) fn stale(ack_ids: &[String]) -> Status {
    let metadata = ack_ids.iter().map(|id| (id.clone(), "PERMANENT_FAILURE_INVALID_ACK_ID".to_owned())).collect();
    let (reason, domain) = ("EXACTLY_ONCE_ACKID_FAILURE".into(), "pubsub.googleapis.com".into());
    let info = ErrorInfo { reason, domain, metadata };
    let message = "Some acknowledgement ids in the request were invalid. This could be because the acknowledgement ids \
        have expired or the acknowledgement ids were malformed.";
    let details = Details {
        code: Code::FailedPrecondition as i32,
        message: message.into(),
        details: vec![prost_types::Any { type_url: ERROR_INFO.into(), value: info.encode_to_vec() }],
    };
    Status::with_details(Code::FailedPrecondition, message, details.encode_to_vec().into())
}

/// The reasons in a status, by acknowledgement id.
pub(super) fn reasons(status: &Status) -> Option<ErrorInfo> {
    let details = Details::decode(status.details()).ok()?;
    let info = details.details.into_iter().find(|any| any.type_url == ERROR_INFO)?;
    ErrorInfo::decode(info.value.as_slice()).ok()
}

pub(super) const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct Details {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ErrorInfo {
    #[prost(string, tag = "1")]
    pub(super) reason: String,
    #[prost(string, tag = "2")]
    pub(super) domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub(super) metadata: BTreeMap<String, String>,
}
