//! What went wrong with a call, and whether another attempt helps.

use std::error::Error as _;
use std::time::Duration;

use google_cloud_gax::error::Error;
use google_cloud_gax::error::rpc::Code;

use super::obstacle::Obstacle;
use crate::resources::Context;

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such resource, or not yet.
    Missing,
    /// It is there already.
    Exists,
    /// Someone else changed it in between.
    Conflict,
    /// The service failed, or the connection to it; another attempt may succeed in a moment.
    Passing,
    /// The service is out of capacity, or a limit of calls in a time is reached: `RESOURCE_EXHAUSTED`, `UNAVAILABLE`.
    Busy,
    /// The account may not do it, or may not yet.
    Denied,
    /// The API is not enabled in the project, or not yet.
    Disabled,
    /// The endpoint, a stand-in, cannot do it.
    Unsupported,
    /// Something has to be provided first, or declared differently; the message says what.
    Required,
    /// Something outside of the topology has to be corrected first.
    Setup(Obstacle),
    /// The request is wrong.
    Wrong,
}

/// A call failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct CloudError {
    /// What kind of failure it is.
    pub fault: Fault,
    /// What the service said.
    pub message: String,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
}

impl CloudError {
    /// A failure that was found without a call.
    pub(crate) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), retry_after: None }
    }

    /// The same error with what to do about it in this project and region, where its cause is a recognised
    /// [`Obstacle`].
    pub(crate) fn explained(self, context: &Context) -> Self {
        match self.fault {
            Fault::Setup(obstacle) if !self.message.contains("\n  help: ") => {
                let help = obstacle.help(&context.project, &context.region);
                Self { message: format!("{}\n  help: {help}", self.message), ..self }
            }
            _ => self,
        }
    }

    /// A failure by the status of an HTTP response and Google's message in it.
    pub(super) fn http(status: u16, message: String) -> Self {
        Self::new(fault_of(Some(status), None, &message), message)
    }
}

impl From<Error> for CloudError {
    fn from(error: Error) -> Self {
        let status = error.http_status_code();
        let code = error.status().map(|status| status.code);
        let mut message = match error.status() {
            Some(status) if !status.message.is_empty() => status.message.clone(),
            _ => error.to_string(),
        };
        let mut source = error.source();
        let mut innermost = String::new();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) && error.status().is_none() {
                message = format!("{message}: {text}");
            }
            innermost = format!(" ({text})");
            source = cause.source();
        }
        let details = error.status().map(|status| format!("{:?}", status.details)).unwrap_or_default();
        let fault = match (status, code) {
            (None, None) if error.is_serialization() || error.is_deserialization() || error.is_binding() => {
                Fault::Wrong
            }
            (None, None) if error.is_authentication() => Obstacle::of(&message).map_or(Fault::Denied, Fault::Setup),
            _ => fault_of(status, code, &format!("{message} {details}")),
        };
        if fault == Fault::Setup(Obstacle::NoCredentials) {
            // The client's own text is a paragraph of guesses; the innermost cause says why there is no metadata server.
            message = format!(
                "there are no Application Default Credentials, and this machine has no service account of Google \
                    Cloud{innermost}"
            );
        }
        let retry_after = error.http_headers().and_then(|headers| {
            let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
            Some(Duration::from_secs(seconds))
        });
        Self { fault, message, retry_after }
    }
}

/// <https://cloud.google.com/apis/design/errors>. An error without a status is a connection that failed.
fn fault_of(status: Option<u16>, code: Option<Code>, message: &str) -> Fault {
    if let Some(obstacle) = Obstacle::of(message) {
        return Fault::Setup(obstacle);
    }
    let disabled = message.contains("SERVICE_DISABLED") || message.contains("has not been used in project");
    match (code, status) {
        (Some(Code::NotFound), _) | (None, Some(404)) => Fault::Missing,
        (Some(Code::AlreadyExists), _) => Fault::Exists,
        (Some(Code::Aborted), _) | (_, Some(409 | 412)) => Fault::Conflict,
        (Some(Code::PermissionDenied | Code::Unauthenticated), _) | (None, Some(401 | 403)) => {
            if disabled {
                Fault::Disabled
            } else {
                Fault::Denied
            }
        }
        (Some(Code::Unimplemented), _) | (None, Some(405 | 501)) => Fault::Unsupported,
        (Some(Code::Unavailable | Code::ResourceExhausted), _) | (_, Some(429 | 503)) => Fault::Busy,
        (Some(Code::DeadlineExceeded | Code::Internal), _) => Fault::Passing,
        (_, Some(408 | 500 | 502 | 504)) | (None, None) => Fault::Passing,
        _ => Fault::Wrong,
    }
}

/// An error with what was tried.
pub(super) fn tried(verb: &str, what: &str, error: CloudError) -> CloudError {
    CloudError { message: format!("cannot {verb} {what}: {}", error.message), ..error }
}
