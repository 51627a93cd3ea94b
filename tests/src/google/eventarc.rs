//! Eventarc v1: triggers, each with a push subscription of its own.
//! <https://cloud.google.com/eventarc/docs/reference/rest/v1/projects.locations.triggers>

use deploy::cloud::Api;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::agent::Refusal;
use super::call::{Answer, Call, Failure};
use super::json::{apply, etag, next, now, page, text, uid, without_defaults};
use super::operation::{Effect, any};
use super::state::{PROJECT_NUMBER, State};

const TRIGGER: &str = "google.cloud.eventarc.v1.Trigger";
const PUBLISHED: &str = "google.cloud.pubsub.topic.v1.messagePublished";

impl State {
    pub(super) async fn eventarc(&mut self, call: &Call) -> Answer {
        if let Some(answer) = self.operations(call).await {
            return answer;
        }
        let target = call.target();
        // It takes the names that it gives.
        let named = target.segments.join("/");
        let by_number = named.strip_prefix(&format!("projects/{PROJECT_NUMBER}/"));
        let name = by_number.map(|rest| format!("projects/{}/{rest}", self.project)).unwrap_or(named.clone());
        match (call.method.as_str(), target.segments.as_slice()) {
            ("POST", ["projects", _, "locations", _, "triggers"]) => {
                let id = call.query("triggerId").unwrap_or_default();
                self.create_trigger(call, &format!("{name}/{id}")).await
            }
            ("GET", ["projects", _, "locations", _, "triggers"]) => {
                let names: Vec<String> =
                    self.triggers.keys().filter(|other| other.starts_with(&name)).cloned().collect();
                for name in &names {
                    self.advance(name).await;
                }
                page(call, "triggers", names.iter().filter_map(|name| self.triggers.get(name)).cloned().collect())
            }
            (_, ["projects", _, "locations", _, "triggers", _]) => {
                self.advance(&name).await;
                self.trigger_call(call, &name).await
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    async fn trigger_call(&mut self, call: &Call, name: &str) -> Answer {
        let missing = call.is("allowMissing");
        let Some(trigger) = self.triggers.get(name).cloned() else {
            return match call.method {
                Method::PATCH if missing => self.create_trigger(call, name).await,
                Method::DELETE if missing => Ok(json!({"done": true, "response": any(TRIGGER, &json!({}))})),
                _ => Err(Failure::not_found(name)),
            };
        };
        if let Some(answer) = self.iam_policy(call, name) {
            return answer;
        }
        if call.method == Method::GET {
            return Ok(trigger);
        }
        if self.is_busy(name) {
            return Err(Failure::aborted("unable to queue the operation"));
        }
        match call.method {
            Method::PATCH => {
                let mut wanted = call.body.clone();
                self.documents.of(Api::Eventarc).without_output_only("Trigger", &mut wanted);
                let mut changed = trigger.clone();
                wanted["name"] = json!(name);
                apply(call.query("updateMask"), &wanted, &mut changed);
                // A mask of `*` or of `transport` must not lose what only the server sets.
                for (field, value) in trigger.as_object().into_iter().flatten() {
                    let output = ["uid", "createTime", "updateTime", "etag", "transport"].contains(&field.as_str());
                    if output && changed.get(field).is_none() {
                        changed[field] = value.clone();
                    }
                }
                let (old, new) = (&trigger["transport"]["pubsub"], &mut changed["transport"]["pubsub"]);
                if !text(new, "topic").is_empty() && new["topic"] != old["topic"] {
                    return Err(Failure::invalid("The transport topic of a trigger cannot be changed."));
                }
                *new = old.clone();
                self.check_trigger(&mut changed).await?;
                if call.is("validateOnly") {
                    return Ok(json!({"done": true, "response": any(TRIGGER, &changed)}));
                }
                if changed != trigger {
                    changed["etag"] = json!(etag());
                    changed["updateTime"] = json!(now());
                }
                self.operate_trigger(call, name, Effect::TriggerUpdated(name.to_owned(), Box::new(changed))).await
            }
            Method::DELETE => {
                let given = call.query("etag").unwrap_or_default();
                if !given.is_empty() && trigger["etag"] != given {
                    return Err(Failure::aborted(format!("The etag of {name} is another.")));
                }
                if call.is("validateOnly") {
                    return Ok(json!({"done": true, "response": any(TRIGGER, &trigger)}));
                }
                self.operate_trigger(call, name, Effect::TriggerDeleted(name.to_owned())).await
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    async fn create_trigger(&mut self, call: &Call, name: &str) -> Answer {
        if self.triggers.contains_key(name) {
            return Err(Failure::exists(name));
        }
        let mut trigger = call.body.clone();
        self.documents.of(Api::Eventarc).without_output_only("Trigger", &mut trigger);
        let now = now();
        let fixed = json!({"name": name, "uid": uid(), "createTime": now, "updateTime": now, "etag": etag()});
        for (field, value) in fixed.as_object().into_iter().flatten() {
            trigger[field] = value.clone();
        }
        self.check_trigger(&mut trigger).await?;
        if call.is("validateOnly") {
            return Ok(json!({"done": true, "response": any(TRIGGER, &trigger)}));
        }
        let effect = match self.refusal() {
            None => Effect::TriggerReady(name.to_owned()),
            Some(Refusal::InTheOperation) => Effect::TriggerRefused(name.to_owned()),
            Some(Refusal::AtOnce(failure)) => return Err(failure),
        };
        self.triggers.insert(name.to_owned(), trigger);
        self.operate_trigger(call, name, effect).await
    }

    async fn operate_trigger(&mut self, call: &Call, name: &str, effect: Effect) -> Answer {
        let location: Vec<&str> = name.split('/').take(4).collect();
        let verb = match effect {
            Effect::TriggerReady(_) | Effect::TriggerRefused(_) => "create",
            Effect::TriggerDeleted(_) => "delete",
            _ => "update",
        };
        let metadata = any(
            "google.cloud.eventarc.v1.OperationMetadata",
            &json!({"createTime": now(), "target": name, "verb": verb, "apiVersion": "v1"}),
        );
        self.operate(call, &format!("{}/operations/operation-", location.join("/")), name, metadata, effect).await
    }

    /// Fills in defaults and refuses what refers to nothing.
    async fn check_trigger(&mut self, trigger: &mut Value) -> Result<(), Failure> {
        without_defaults(trigger);
        let filters = trigger["eventFilters"].as_array().map_or(&[][..], Vec::as_slice);
        let published = |filter: &Value| filter["attribute"] == "type" && filter["value"] == PUBLISHED;
        if filters.len() != 1 || !filters.iter().all(published) {
            return Err(Failure::invalid(format!(
                "The request was invalid: trigger.event_filters must be the one filter type={PUBLISHED} (the stand-in knows no other)"
            )));
        }
        let service = self.trigger_service(trigger);
        if !self.services.get(&service).is_some_and(|service| service.value["deleteTime"].is_null()) {
            return Err(Failure::not_found(&service));
        }
        let topic = text(&trigger["transport"]["pubsub"], "topic").to_owned();
        let found = self.upstream.ask_pubsub(Method::GET, &format!("/v1/{topic}"), &Value::Null).await;
        if topic.is_empty() || !found.is_ok_and(|(status, _)| status == 200) {
            return Err(Failure::not_found(&topic));
        }
        let account = text(trigger, "serviceAccount");
        if account.is_empty() || !self.use_account(account) {
            return Err(Failure::invalid(format!(
                "The request was invalid: the trigger's service account \"{account}\" does not exist or cannot be used"
            )));
        }
        if trigger["eventDataContentType"].is_null() {
            trigger["eventDataContentType"] = json!("application/json");
        }
        Ok(())
    }

    fn trigger_service(&self, trigger: &Value) -> String {
        let run = &trigger["destination"]["cloudRun"];
        format!("projects/{}/locations/{}/services/{}", self.project, text(run, "region"), text(run, "service"))
    }

    /// Where its subscription pushes to, and as whom.
    fn push_config(&self, trigger: &Value) -> Value {
        let service = self.services.get(&self.trigger_service(trigger));
        let uri = service.map_or("", |service| text(&service.value, "uri"));
        let path = text(&trigger["destination"]["cloudRun"], "path").trim_start_matches('/');
        let topic = text(&trigger["transport"]["pubsub"], "topic");
        let topic = utf8_percent_encode(topic, NON_ALPHANUMERIC);
        json!({
            "pushEndpoint": format!("{uri}/{path}?__GCP_CloudEventsMode=CUSTOM_PUBSUB_{topic}"),
            "oidcToken": {"serviceAccountEmail": trigger["serviceAccount"], "audience": uri},
        })
    }

    /// Makes the subscription; a trigger that fails is not there.
    pub(super) async fn trigger_ready(&mut self, name: &str, fails: bool) -> Answer {
        let Some(mut trigger) = self.triggers.get(name).cloned() else { return Err(Failure::not_found(name)) };
        let mut parts = name.split('/').skip(3).step_by(2);
        let (region, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let subscription =
            format!("projects/{}/subscriptions/eventarc-{region}-{id}-sub-{:03}", self.project, next() % 1000);
        let body = json!({
            "topic": trigger["transport"]["pubsub"]["topic"],
            "pushConfig": self.push_config(&trigger),
            "ackDeadlineSeconds": 10,
            "messageRetentionDuration": "86400s",
            "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
            "labels": {"goog-eventarc": ""},
        });
        let made = if fails {
            Err("Internal error occurred.".to_owned())
        } else {
            match self.upstream.ask_pubsub(Method::PUT, &format!("/v1/{subscription}"), &body).await {
                Ok((200, _)) => Ok(()),
                Ok((status, body)) => Err(format!("{subscription}: {status} {body}")),
                Err(broken) => Err(format!("{subscription}: {broken}")),
            }
        };
        if let Err(why) = made {
            self.triggers.remove(name);
            self.policies.remove(name);
            return Err(Failure::internal(why));
        }
        trigger["transport"]["pubsub"]["subscription"] = json!(subscription);
        self.triggers.insert(name.to_owned(), trigger.clone());
        Ok(any(TRIGGER, &trigger))
    }

    pub(super) async fn trigger_updated(&mut self, name: &str, trigger: Value) -> Answer {
        let subscription = text(&trigger["transport"]["pubsub"], "subscription");
        let body = json!({"pushConfig": self.push_config(&trigger)});
        let path = format!("/v1/{subscription}:modifyPushConfig");
        match self.upstream.ask_pubsub(Method::POST, &path, &body).await {
            Ok((200, _)) => {
                self.triggers.insert(name.to_owned(), trigger.clone());
                Ok(any(TRIGGER, &trigger))
            }
            other => Err(Failure::internal(format!("{subscription}: {other:?}"))),
        }
    }

    pub(super) async fn trigger_deleted(&mut self, name: &str) -> Answer {
        let trigger = self.triggers.remove(name).ok_or_else(|| Failure::not_found(name))?;
        let subscription = text(&trigger["transport"]["pubsub"], "subscription");
        self.policies.remove(name);
        self.policies.remove(subscription);
        match self.upstream.ask_pubsub(Method::DELETE, &format!("/v1/{subscription}"), &Value::Null).await {
            // Somebody may have deleted it before.
            Ok((200 | 404, _)) => Ok(any(TRIGGER, &trigger)),
            other => Err(Failure::internal(format!("{subscription}: {other:?}"))),
        }
    }
}
