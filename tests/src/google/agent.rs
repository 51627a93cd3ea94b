//! Service agents, the accounts as which Google's own services act, as they are in a new project: Pub/Sub's is
//! created on request alone and then has no role, Eventarc's is there with the first trigger and gets its role after
//! a while. <https://cloud.google.com/iam/docs/create-service-agents>

use deploy::cloud::Api;
use deploy::plan::bindings;
use http::Method;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::json::{next, text};
use super::operation::{Effect, any};
use super::server::Broken;
use super::state::{PROJECT_NUMBER, State};

const SIGNS_TOKENS: &str = "roles/iam.serviceAccountOpenIdTokenCreator";

/// What Eventarc says while its agent has no role.
const REFUSAL: &str = "Permission denied while using the Eventarc Service Agent. If you recently started to use Eventarc, it may \
    take a few minutes before all necessary permissions are propagated to the Service Agent. Otherwise, verify that it has \
    Eventarc Service Agent role.";

pub(super) fn pubsub_agent() -> String {
    format!("service-{PROJECT_NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com")
}

/// How Eventarc refuses a trigger.
pub(super) enum Refusal {
    AtOnce(Failure),
    InTheOperation,
}

impl State {
    /// Counts a use of Pub/Sub's agent; whether it worked.
    pub(super) fn use_agent(&mut self) -> bool {
        let Some(lag) = &mut self.agent else { return false };
        let usable = *lag == 0;
        *lag = lag.saturating_sub(1);
        usable
    }

    /// `services/SERVICE:generateServiceIdentity` of Service Usage v1beta1.
    pub(super) async fn generate_identity(&mut self, call: &Call, service: &str) -> Answer {
        if service != Api::PubSub.service() {
            return Err(Failure::unknown(call));
        }
        if !self.enabled.contains_key(service) {
            let message = format!("Service {service} is not enabled for consumer projects/{PROJECT_NUMBER}.");
            return Err(Failure::new(400, "FAILED_PRECONDITION", message));
        }
        let metadata = json!({"@type": "type.googleapis.com/google.api.serviceusage.v1beta1.OperationMetadata"});
        if self.agent.is_some() {
            let name = "operations/finished.DONE_OPERATION";
            return Ok(json!({"name": name, "metadata": metadata, "done": true, "response": identity()}));
        }
        let resource = format!("creating {}", next());
        self.operate(call, "operations/acf.p2-", &resource, metadata, Effect::AgentCreated).await
    }

    pub(super) fn agent_created(&mut self) -> Answer {
        self.agent.get_or_insert(self.behaviour.agent_lag);
        Ok(identity())
    }

    /// Counts a new trigger; how Eventarc refuses it, if it does.
    pub(super) fn refusal(&mut self) -> Option<Refusal> {
        let left = self.eventarc_lag;
        self.eventarc_lag = left.saturating_sub(1);
        match left {
            0 => None,
            left if left % 3 == 0 => Some(Refusal::AtOnce(Failure::denied(REFUSAL))),
            left if left % 3 == 2 => Some(Refusal::AtOnce(Failure::invalid(REFUSAL))),
            _ => Some(Refusal::InTheOperation),
        }
    }

    /// What is wrong with what was deployed: Pub/Sub cannot sign the tokens of these pushes, so no message of theirs
    /// arrives.
    pub(super) async fn undeliverable(&self) -> Result<Vec<String>, Broken> {
        if self.behaviour.agents {
            return Ok(Vec::new());
        }
        let path = format!("/v1/projects/{}/subscriptions?pageSize=1000", self.project);
        let (_, listed) = self.upstream.ask_pubsub(Method::GET, &path, &Value::Null).await?;
        let pushes = listed["subscriptions"].as_array().into_iter().flatten();
        // Those of triggers are among them.
        let callers =
            pushes.map(|push| (text(push, "name"), text(&push["pushConfig"]["oidcToken"], "serviceAccountEmail")));
        let member = format!("serviceAccount:{}", pubsub_agent());
        let unsigned = callers.filter(|(_, email)| {
            let granted = bindings(&self.policy(&self.account_name(email)));
            !email.is_empty() && !granted.get(SIGNS_TOKENS).is_some_and(|members| members.contains(&member))
        });
        Ok(unsigned.map(|(name, email)| format!("{name}: {member} lacks {SIGNS_TOKENS} on {email}")).collect())
    }
}

pub(super) fn refused_by_the_agent() -> Failure {
    Failure::denied(REFUSAL)
}

fn identity() -> Value {
    let identity = json!({"email": pubsub_agent(), "uniqueId": "100000000000000000001"});
    any("google.api.serviceusage.v1beta1.ServiceIdentity", &identity)
}
