//! A request that was read, and Google's answers.

use bytes::Bytes;
use deploy::cloud::Api;
use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::fault::FaultKind;

/// A request with its body.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) api: Api,
    /// `HOST:PORT` that it came to; Google's clients leave the port out of the header `Host`.
    pub(super) host: String,
    pub(super) method: Method,
    /// As sent, without the query.
    pub(super) path: String,
    /// As sent.
    pub(super) raw_query: Option<String>,
    /// Decoded.
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    /// Null if it is none or no JSON.
    pub(super) body: Value,
    /// As sent.
    pub(super) bytes: Bytes,
    /// What is to go wrong.
    pub(super) fault: Option<FaultKind>,
}

/// A parsed path: its segments, and the verb after the last colon.
pub(super) struct Target<'a> {
    pub(super) segments: Vec<&'a str>,
    pub(super) verb: Option<&'a str>,
}

impl Call {
    /// The path without its version: `/v1/projects/p/topics/t:publish` is `projects/p/topics/t` and `publish`.
    pub(super) fn target(&self) -> Target<'_> {
        let path = self.path.trim_start_matches('/');
        let (_, path) = path.split_once('/').unwrap_or(("", path));
        let (path, verb) = match path.rsplit_once(':') {
            Some((path, verb)) => (path, Some(verb)),
            None => (path, None),
        };
        Target { segments: path.split('/').collect(), verb }
    }

    /// A query parameter.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether a query parameter is `true`.
    pub(super) fn is(&self, name: &str) -> bool {
        self.query(name) == Some("true")
    }

    /// Whether it asks for a change. Verbs that only read are POST in some APIs.
    pub(super) fn is_mutating(&self) -> bool {
        const READS: [&str; 5] = ["getIamPolicy", "testIamPermissions", "wait", "pull", "batchGet"];
        if let Some(method) = self.grpc_method() {
            let reads = ["Get", "List", "Pull", "StreamingPull", "Test"];
            return !reads.iter().any(|prefix| method.starts_with(prefix));
        }
        let reads = self.target().verb.is_some_and(|verb| READS.contains(&verb));
        self.method != Method::GET && !reads && !self.is("validateOnly")
    }

    /// `Publish` of `/google.pubsub.v1.Publisher/Publish`; `None` for REST.
    pub(super) fn grpc_method(&self) -> Option<&str> {
        let kind = self.headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
        kind.starts_with("application/grpc").then(|| self.path.rsplit('/').next().unwrap_or_default())
    }
}

/// JSON, or what Google says instead.
pub(super) type Answer = Result<Value, Failure>;

/// An error as Google's APIs answer it: <https://cloud.google.com/apis/design/errors>.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) status: &'static str,
    pub(super) message: String,
    pub(super) details: Vec<Value>,
}

impl Failure {
    pub(super) fn new(code: u16, status: &'static str, message: impl Into<String>) -> Self {
        Self { code, status, message: message.into(), details: Vec::new() }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "INVALID_ARGUMENT", message)
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(404, "NOT_FOUND", format!("Resource '{what}' was not found"))
    }

    pub(super) fn exists(what: &str) -> Self {
        Self::new(409, "ALREADY_EXISTS", format!("Resource '{what}' already exists."))
    }

    pub(super) fn aborted(message: impl Into<String>) -> Self {
        Self::new(409, "ABORTED", message)
    }

    pub(super) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "PERMISSION_DENIED", message)
    }

    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(500, "INTERNAL", message)
    }

    /// What Google can do and this stand-in cannot.
    pub(super) fn unknown(call: &Call) -> Self {
        Self::new(501, "UNIMPLEMENTED", format!("the stand-in does not know {} {}", call.method, call.path))
    }

    /// The body of the answer.
    pub(super) fn body(&self, api: Api) -> Value {
        let Self { code, status, message, details } = self;
        if api != Api::Storage {
            return json!({"error": {"code": code, "message": message, "status": status, "details": details}});
        }
        // Cloud Storage has an older form: https://cloud.google.com/storage/docs/json_api/v1/status-codes
        let reason = match code {
            400 => "invalid",
            403 => "forbidden",
            404 => "notFound",
            409 => "conflict",
            412 => "conditionNotMet",
            429 => "rateLimitExceeded",
            _ => "backendError",
        };
        let error = json!({"message": message, "domain": "global", "reason": reason});
        json!({"error": {"code": code, "message": message, "errors": [error]}})
    }

    /// As `google.rpc.Status`, in an operation.
    pub(super) fn rpc_status(&self) -> Value {
        json!({"code": self.grpc_code(), "message": self.message, "details": self.details})
    }

    /// Its number in gRPC.
    pub(super) fn grpc_code(&self) -> u8 {
        match self.status {
            "INVALID_ARGUMENT" => 3,
            "NOT_FOUND" => 5,
            "ALREADY_EXISTS" => 6,
            "PERMISSION_DENIED" => 7,
            "RESOURCE_EXHAUSTED" => 8,
            "FAILED_PRECONDITION" => 9,
            "ABORTED" => 10,
            "UNIMPLEMENTED" => 12,
            "UNAVAILABLE" => 14,
            _ => 13,
        }
    }
}
