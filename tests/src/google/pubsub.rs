//! What Google's Pub/Sub emulator lacks: IAM policies on topics and subscriptions.

use http::{Method, StatusCode};
use serde_json::Value;

use super::call::{Answer, Call, Failure};
use super::state::State;

impl State {
    /// Answers a request about IAM; `None` for another, which the emulator answers.
    pub(super) async fn pubsub_iam(&mut self, call: &Call) -> Option<Answer> {
        let target = call.target();
        target.verb.filter(|verb| ["getIamPolicy", "setIamPolicy", "testIamPermissions"].contains(verb))?;
        let resource = target.segments.join("/");
        match self.upstream.ask_pubsub(Method::GET, &format!("/v1/{resource}"), &Value::Null).await {
            Ok((200, _)) => self.iam_policy(call, &resource),
            Ok((404, _)) => {
                self.policies.remove(&resource);
                Some(Err(Failure::not_found(&resource)))
            }
            other => Some(Err(Failure::internal(format!("{resource}: {other:?}")))),
        }
    }

    /// A resource takes its policy with it.
    pub(super) fn pubsub_done(&mut self, call: &Call, status: StatusCode) {
        if call.method == Method::DELETE && status.is_success() {
            self.policies.remove(&call.target().segments.join("/"));
        }
    }
}
