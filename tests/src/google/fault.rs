//! What was asked, and what is made to go wrong.

use deploy::cloud::Api;
use serde_json::{Value, json};

use super::call::{Call, Failure};

/// A request as it was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The API whose port it came to.
    pub api: Api,
    /// `GET`, `POST`, …; gRPC is `POST`.
    pub method: String,
    /// As sent, without the query; of gRPC `/SERVICE/METHOD`.
    pub path: String,
    /// Decoded.
    pub query: Vec<(String, String)>,
    /// The JSON; null if there is none, the metadata of an upload.
    pub body: Value,
    /// `None` if the connection was dropped.
    pub status: Option<u16>,
    /// Whether it asks for a change; with `validateOnly` it does not.
    pub mutating: bool,
    /// What was made to go wrong.
    pub fault: Option<FaultKind>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// 503 `UNAVAILABLE`, and nothing happened.
    Unavailable,
    /// 429 `RESOURCE_EXHAUSTED` with `Retry-After: 1`, and nothing happened.
    TooMany,
    /// 409 `ABORTED`, and nothing happened.
    Conflict,
    /// The connection is dropped, and nothing happened.
    DropBefore,
    /// The connection is dropped, and it happened.
    DropAfter,
    /// The operation ends in an error (of a request that starts one; others are not troubled). A Cloud Run service is
    /// left with a revision that does not start, and stays so until it gets another one; elsewhere nothing happened.
    OperationFails,
    /// It is refused so, and nothing happened.
    Refused {
        /// Of HTTP.
        code: u16,
        /// Of gRPC.
        status: &'static str,
        /// What Google says.
        message: &'static str,
        /// The reason in the error's details; none if it is empty.
        reason: &'static str,
    },
}

/// One fault, which strikes once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which of the matching mutating requests from now on, counted from 1.
    pub nth: usize,
    /// What happens to it.
    pub kind: FaultKind,
    /// Counts only requests to this API.
    pub api: Option<Api>,
    /// Counts only requests whose `METHOD /path` contains this: `PATCH`, `:setIamPolicy`, `/triggers`.
    pub target: String,
}

impl Fault {
    /// Of the `nth` mutating request, over all APIs.
    pub fn nth(nth: usize, kind: FaultKind) -> Self {
        Self { nth, kind, api: None, target: String::new() }
    }

    /// Only of this API.
    #[must_use]
    pub fn of(mut self, api: Api) -> Self {
        self.api = Some(api);
        self
    }

    /// Only where `METHOD /path` contains this.
    #[must_use]
    pub fn on(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    fn is_about(&self, call: &Call) -> bool {
        let target = format!("{} {}", call.method, call.path);
        self.api.is_none_or(|api| api == call.api) && target.contains(&self.target)
    }
}

impl FaultKind {
    /// The answer that it gives instead of the effect.
    pub(super) fn answer(self) -> Option<Failure> {
        let (code, status, message) = match self {
            Self::Unavailable => (503, "UNAVAILABLE", "The service is currently unavailable."),
            Self::TooMany => (429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Write requests'."),
            Self::Conflict => (409, "ABORTED", "The operation was aborted."),
            Self::Refused { code, status, message, reason } => {
                let mut failure = Failure::new(code, status, message);
                if !reason.is_empty() {
                    failure.details.push(json!({
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": reason,
                        "domain": "googleapis.com",
                    }));
                }
                return Some(failure);
            }
            Self::DropBefore | Self::DropAfter | Self::OperationFails => return None,
        };
        Some(Failure::new(code, status, message))
    }
}

/// What happened so far, and what shall happen.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) requests: Vec<Request>,
    pub(super) violations: Vec<String>,
    pub(super) mutating: usize,
    /// With the number of requests that each has let pass.
    pub(super) faults: Vec<(Fault, usize)>,
}

impl Log {
    /// Counts a request; returns what strikes it.
    pub(super) fn count(&mut self, call: &Call) -> Option<FaultKind> {
        if !call.is_mutating() {
            return None;
        }
        self.mutating += 1;
        let mut struck = None;
        self.faults.retain_mut(|(fault, passed)| {
            *passed += usize::from(fault.is_about(call));
            if *passed < fault.nth || struck.is_some() {
                return true;
            }
            struck = Some(fault.kind);
            false
        });
        struck
    }

    /// Records a request with its answer.
    pub(super) fn record(&mut self, call: &Call, status: Option<u16>) {
        self.requests.push(Request {
            api: call.api,
            method: call.method.to_string(),
            path: call.path.clone(),
            query: call.query.clone(),
            body: call.body.clone(),
            status,
            mutating: call.is_mutating(),
            fault: call.fault,
        });
    }
}
