//! Pub/Sub's REST API: <https://cloud.google.com/pubsub/docs/reference/rest>. The methods do the same as those of
//! `grpc`.
//!
//! - `request`, `response`: bodies and refusals
//! - `topics`, `subscriptions`, `snapshots`, `policies`: resources as JSON; `messages`: publish, pull, acknowledge
//! - `scalars`: values with a JSON form of their own

#[cfg(test)]
mod fuzzed;
mod messages;
mod policies;
mod request;
pub(super) mod response;
mod scalars;
mod snapshots;
mod subscriptions;
mod topics;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::any;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use serde::Deserialize;
use serde_json::json;
use tonic::Status;

use super::api;
use super::error::invalid;
use super::shared::Shared;
use messages::{
    AcknowledgeRequest, Empty, ModifyAckDeadlineRequest, PublishRequest, PublishResponse, PullRequest, PullResponse,
    SeekRequest,
};
use request::{no_method, no_schemas, parse};
use response::{answer, page_of, refusal};
use snapshots::Snapshot;
use subscriptions::{ModifyPushConfigRequest, Subscription, UpdateSubscriptionRequest};
use topics::{Topic, UpdateTopicRequest};

/// The most bytes of a body: a publish of 10 MB in base64, with something to spare.
const MAX_BODY_BYTES: usize = 15 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/v1/{*path}", any(serve)).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(shared)
}

/// Parameters of the query.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Parameters {
    #[serde(alias = "page_size")]
    page_size: i32,
    #[serde(alias = "page_token")]
    page_token: String,
    #[serde(rename = "options.requestedPolicyVersion", alias = "options.requested_policy_version")]
    requested_policy_version: i32,
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    Path(path): Path<String>,
    parameters: Result<Query<Parameters>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return refusal(&invalid(format!("Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes.")));
    };
    let parameters = match parameters {
        Ok(Query(parameters)) => parameters,
        Err(error) => return refusal(&invalid(error.body_text())),
    };
    route(&shared, &method, &path, parameters, &body).await.unwrap_or_else(|status| refusal(&status))
}

async fn route(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    parameters: Parameters,
    body: &[u8],
) -> Result<Response, Status> {
    // The project of a name may have a colon too: `example.com:project`.
    let (name, verb) = path.rsplit_once(':').filter(|(_, verb)| !verb.contains('/')).unwrap_or((path, ""));
    let parts: Vec<&str> = name.split('/').collect();
    match (parts.as_slice(), verb) {
        (["projects", _, "topics", _], "") => topic(shared, method, name, body).await,
        (["projects", _, "subscriptions", _], "") => subscription(shared, method, name, body).await,
        (["projects", _, "snapshots", _], "") => snapshots::serve(shared, method, name, body).await,
        (["projects", project, collection], "") if method == Method::GET => {
            list(shared, &format!("projects/{project}"), collection, parameters)
        }
        (["projects", project, "topics", id, collection], "") if method == Method::GET => {
            list_of_topic(shared, format!("projects/{project}/topics/{id}"), collection, parameters)
        }
        (
            ["projects", _, "topics" | "subscriptions" | "snapshots", _],
            "getIamPolicy" | "setIamPolicy" | "testIamPermissions",
        ) => policies::serve(shared, method, name, verb, parameters.requested_policy_version, body).await,
        (["projects", _, "topics", _], verb) if method == Method::POST => on_topic(shared, name, verb, body).await,
        (["projects", _, "subscriptions", _], verb) if method == Method::POST => {
            on_subscription(shared, name, verb, body).await
        }
        (["projects", _, "schemas", ..], _) => Err(no_schemas()),
        _ => Err(no_method(method, path)),
    }
}

async fn topic(shared: &Shared, method: &Method, name: &str, body: &[u8]) -> Result<Response, Status> {
    let topic = match *method {
        Method::PUT => {
            let topic = pb::Topic { name: name.into(), ..parse::<Topic>(body)?.try_into()? };
            shared.update_durably(|state, _| state.create_topic(topic)).await?
        }
        Method::GET => shared.with_state(|state, _| state.get_topic(name))?,
        Method::PATCH => {
            let mut update: pb::UpdateTopicRequest = parse::<UpdateTopicRequest>(body)?.try_into()?;
            update.topic.get_or_insert_default().name = name.into();
            shared.update_durably(|state, _| state.update_topic(update)).await?
        }
        Method::DELETE => {
            shared.update_durably(|state, _| state.delete_topic(name)).await?;
            return Ok(answer(&json!({})));
        }
        _ => return Err(no_method(method, name)),
    };
    Ok(answer(&Topic::from(topic)))
}

async fn subscription(shared: &Arc<Shared>, method: &Method, name: &str, body: &[u8]) -> Result<Response, Status> {
    let subscription = match *method {
        Method::PUT => {
            let subscription = pb::Subscription { name: name.into(), ..parse::<Subscription>(body)?.try_into()? };
            api::create_subscription(shared, subscription).await?
        }
        Method::GET => shared.with_state(|state, _| state.get_subscription(name))?,
        Method::PATCH => {
            let mut update: pb::UpdateSubscriptionRequest = parse::<UpdateSubscriptionRequest>(body)?.try_into()?;
            update.subscription.get_or_insert_default().name = name.into();
            api::update_subscription(shared, update).await?
        }
        Method::DELETE => {
            shared.update_durably(|state, _| state.delete_subscription(name)).await?;
            return Ok(answer(&json!({})));
        }
        _ => return Err(no_method(method, name)),
    };
    Ok(answer(&Subscription::from(subscription)))
}

fn list(shared: &Shared, project: &str, collection: &str, parameters: Parameters) -> Result<Response, Status> {
    let Parameters { page_size, page_token, .. } = parameters;
    let project = project.to_owned();
    match collection {
        "topics" => {
            let list = pb::ListTopicsRequest { project, page_size, page_token };
            let page = shared.with_state(|state, _| state.list_topics(&list))?;
            let topics: Vec<Topic> = page.topics.into_iter().map(Topic::from).collect();
            Ok(answer(&page_of("topics", topics, page.next_page_token)))
        }
        "subscriptions" => {
            let list = pb::ListSubscriptionsRequest { project, page_size, page_token };
            let page = shared.with_state(|state, _| state.list_subscriptions(&list))?;
            let subscriptions: Vec<Subscription> = page.subscriptions.into_iter().map(Subscription::from).collect();
            Ok(answer(&page_of("subscriptions", subscriptions, page.next_page_token)))
        }
        "snapshots" => {
            let list = pb::ListSnapshotsRequest { project, page_size, page_token };
            let page = shared.with_state(|state, _| state.list_snapshots(&list))?;
            let snapshots: Vec<Snapshot> = page.snapshots.into_iter().map(Snapshot::from).collect();
            Ok(answer(&page_of("snapshots", snapshots, page.next_page_token)))
        }
        "schemas" => Err(no_schemas()),
        _ => Err(no_method(&Method::GET, &format!("{project}/{collection}"))),
    }
}

fn list_of_topic(shared: &Shared, topic: String, collection: &str, parameters: Parameters) -> Result<Response, Status> {
    let Parameters { page_size, page_token, .. } = parameters;
    let (names, next_page_token) = match collection {
        "subscriptions" => {
            let list = pb::ListTopicSubscriptionsRequest { topic, page_size, page_token };
            let page = shared.with_state(|state, _| state.list_topic_subscriptions(&list))?;
            (page.subscriptions, page.next_page_token)
        }
        "snapshots" => {
            let list = pb::ListTopicSnapshotsRequest { topic, page_size, page_token };
            let page = shared.with_state(|state, _| state.list_topic_snapshots(&list))?;
            (page.snapshots, page.next_page_token)
        }
        _ => return Err(no_method(&Method::GET, &format!("{topic}/{collection}"))),
    };
    Ok(answer(&page_of(collection, names, next_page_token)))
}

async fn on_topic(shared: &Shared, name: &str, verb: &str, body: &[u8]) -> Result<Response, Status> {
    match verb {
        "publish" => {
            let request = parse::<PublishRequest>(body)?.for_topic(name);
            let pb::PublishResponse { message_ids } = api::publish(shared, request).await?;
            Ok(answer(&PublishResponse { message_ids }))
        }
        _ => Err(no_method(&Method::POST, &format!("{name}:{verb}"))),
    }
}

async fn on_subscription(shared: &Arc<Shared>, name: &str, verb: &str, body: &[u8]) -> Result<Response, Status> {
    let subscription = name.to_owned();
    match verb {
        "pull" => {
            let PullRequest { return_immediately, max_messages } = parse(body)?;
            #[allow(deprecated, reason = "clients still send it")]
            let request = pb::PullRequest { subscription, return_immediately, max_messages };
            return Ok(answer(&PullResponse::from(api::pull(shared, request).await?)));
        }
        "acknowledge" => {
            let AcknowledgeRequest { ack_ids } = parse(body)?;
            api::acknowledge(shared, pb::AcknowledgeRequest { subscription, ack_ids }).await?;
        }
        "modifyAckDeadline" => {
            let ModifyAckDeadlineRequest { ack_ids, ack_deadline_seconds } = parse(body)?;
            let request = pb::ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds };
            api::modify_ack_deadline(shared, request)?;
        }
        "modifyPushConfig" => {
            let push_config = parse::<ModifyPushConfigRequest>(body)?.push_config.map(Into::into);
            api::modify_push_config(shared, pb::ModifyPushConfigRequest { subscription, push_config }).await?;
        }
        "seek" => {
            let target = parse::<SeekRequest>(body)?.target()?;
            shared.update_durably(|state, _| state.seek(&pb::SeekRequest { subscription, target })).await?;
        }
        "detach" => {
            let Empty {} = parse(body)?;
            shared.update_durably(|state, _| state.detach_subscription(name)).await?;
        }
        _ => return Err(no_method(&Method::POST, &format!("{name}:{verb}"))),
    }
    Ok(answer(&json!({})))
}
