//! Pub/Sub's REST API: <https://cloud.google.com/pubsub/docs/reference/rest>.

#[cfg(test)]
mod fuzzed;
mod json;
mod resources;
mod scalars;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::error::{ERROR_INFO, invalid, reasons};
use super::grpc;
use super::shared::Shared;
use json::{
    AcknowledgeRequest, Empty, ModifyAckDeadlineRequest, ModifyPushConfigRequest, PublishRequest, PublishResponse,
    PullRequest, PullResponse, SeekRequest, UpdateSubscriptionRequest, UpdateTopicRequest,
};
use resources::{Subscription, Topic};

/// The most bytes of a body: a publish of 10 MB in base64, and some.
const MAX_BYTES: usize = 15 << 20;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/{*path}", any(serve))
        .fallback(async || {
            refusal(&Status::not_found("There is nothing at this path; Pub/Sub's REST API is under /v1/."))
        })
        .layer(DefaultBodyLimit::max(MAX_BYTES))
        .with_state(shared)
}

/// What lists take.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Paging {
    #[serde(alias = "page_size")]
    page_size: i32,
    #[serde(alias = "page_token")]
    page_token: String,
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    method: Method,
    Path(path): Path<String>,
    paging: Result<Query<Paging>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(body) = body else {
        return refusal(&invalid(format!("Request payload size exceeds the limit: {MAX_BYTES} bytes.")));
    };
    let paging = match paging {
        Ok(Query(paging)) => paging,
        Err(error) => return refusal(&invalid(error.body_text())),
    };
    call(&shared, &method, &path, paging, &body).await.unwrap_or_else(|status| refusal(&status))
}

async fn call(
    shared: &Arc<Shared>,
    method: &Method,
    path: &str,
    paging: Paging,
    body: &[u8],
) -> Result<Response, Status> {
    let (name, verb) = path.split_once(':').unwrap_or((path, ""));
    let parts: Vec<&str> = name.split('/').collect();
    match (parts.as_slice(), verb) {
        (["projects", _, "topics", _], "") => topic(shared, method, name, body).await,
        (["projects", _, "subscriptions", _], "") => subscription(shared, method, name, body).await,
        (["projects", project, collection], "") if method == Method::GET => {
            list(shared, &format!("projects/{project}"), collection, paging)
        }
        (["projects", project, "topics", id, "subscriptions"], "") if method == Method::GET => {
            let Paging { page_size, page_token } = paging;
            let topic = format!("projects/{project}/topics/{id}");
            let list = pb::ListTopicSubscriptionsRequest { topic, page_size, page_token };
            let page = shared.with(|state, _| state.list_topic_subscriptions(&list))?;
            Ok(answer(&page_of("subscriptions", page.subscriptions, page.next_page_token)))
        }
        (["projects", _, "topics", _], verb) if method == Method::POST => on_topic(shared, name, verb, body).await,
        (["projects", _, "subscriptions", _], verb) if method == Method::POST => {
            on_subscription(shared, name, verb, body).await
        }
        _ => Err(unimplemented(method, path)),
    }
}

async fn topic(shared: &Shared, method: &Method, name: &str, body: &[u8]) -> Result<Response, Status> {
    let topic = match *method {
        Method::PUT => {
            let topic = pb::Topic { name: name.into(), ..parse::<Topic>(body)?.try_into()? };
            shared.keep(|state, _| state.create_topic(topic)).await?
        }
        Method::GET => shared.with(|state, _| state.get_topic(name))?,
        Method::PATCH => {
            let mut update: pb::UpdateTopicRequest = parse::<UpdateTopicRequest>(body)?.try_into()?;
            update.topic.get_or_insert_default().name = name.into();
            shared.keep(|state, _| state.update_topic(update)).await?
        }
        Method::DELETE => {
            shared.keep(|state, _| state.delete_topic(name)).await?;
            return Ok(answer(&json!({})));
        }
        _ => return Err(unimplemented(method, name)),
    };
    Ok(answer(&Topic::from(topic)))
}

async fn subscription(shared: &Arc<Shared>, method: &Method, name: &str, body: &[u8]) -> Result<Response, Status> {
    let subscription = match *method {
        Method::PUT => {
            let subscription = pb::Subscription { name: name.into(), ..parse::<Subscription>(body)?.try_into()? };
            grpc::create_subscription(shared, subscription).await?
        }
        Method::GET => shared.with(|state, _| state.get_subscription(name))?,
        Method::PATCH => {
            let mut update: pb::UpdateSubscriptionRequest = parse::<UpdateSubscriptionRequest>(body)?.try_into()?;
            update.subscription.get_or_insert_default().name = name.into();
            grpc::update_subscription(shared, update).await?
        }
        Method::DELETE => {
            shared.keep(|state, _| state.delete_subscription(name)).await?;
            return Ok(answer(&json!({})));
        }
        _ => return Err(unimplemented(method, name)),
    };
    Ok(answer(&Subscription::from(subscription)))
}

fn list(shared: &Shared, project: &str, collection: &str, paging: Paging) -> Result<Response, Status> {
    let Paging { page_size, page_token } = paging;
    let project = project.to_owned();
    match collection {
        "topics" => {
            let list = pb::ListTopicsRequest { project, page_size, page_token };
            let page = shared.with(|state, _| state.list_topics(&list))?;
            let topics: Vec<Topic> = page.topics.into_iter().map(Topic::from).collect();
            Ok(answer(&page_of("topics", topics, page.next_page_token)))
        }
        "subscriptions" => {
            let list = pb::ListSubscriptionsRequest { project, page_size, page_token };
            let page = shared.with(|state, _| state.list_subscriptions(&list))?;
            let subscriptions: Vec<Subscription> = page.subscriptions.into_iter().map(Subscription::from).collect();
            Ok(answer(&page_of("subscriptions", subscriptions, page.next_page_token)))
        }
        _ => Err(unimplemented(&Method::GET, &format!("{project}/{collection}"))),
    }
}

async fn on_topic(shared: &Shared, name: &str, verb: &str, body: &[u8]) -> Result<Response, Status> {
    match verb {
        "publish" => {
            let request = parse::<PublishRequest>(body)?.for_topic(name);
            let pb::PublishResponse { message_ids } = grpc::publish_all(shared, request).await?;
            Ok(answer(&PublishResponse { message_ids }))
        }
        _ => Err(unimplemented(&Method::POST, &format!("{name}:{verb}"))),
    }
}

async fn on_subscription(shared: &Arc<Shared>, name: &str, verb: &str, body: &[u8]) -> Result<Response, Status> {
    let subscription = name.to_owned();
    match verb {
        "pull" => {
            let PullRequest { return_immediately, max_messages } = parse(body)?;
            #[allow(deprecated, reason = "clients still send it")]
            let request = pb::PullRequest { subscription, return_immediately, max_messages };
            return Ok(answer(&PullResponse::from(grpc::pull(shared, request).await?)));
        }
        "acknowledge" => {
            let AcknowledgeRequest { ack_ids } = parse(body)?;
            grpc::acknowledge(shared, pb::AcknowledgeRequest { subscription, ack_ids }).await?;
        }
        "modifyAckDeadline" => {
            let ModifyAckDeadlineRequest { ack_ids, ack_deadline_seconds } = parse(body)?;
            let request = pb::ModifyAckDeadlineRequest { subscription, ack_ids, ack_deadline_seconds };
            grpc::modify_ack_deadline(shared, request)?;
        }
        "modifyPushConfig" => {
            let push_config = parse::<ModifyPushConfigRequest>(body)?.push_config.map(Into::into);
            grpc::modify_push_config(shared, pb::ModifyPushConfigRequest { subscription, push_config }).await?;
        }
        "seek" => {
            let target = parse::<SeekRequest>(body)?.target()?;
            shared.keep(|state, _| state.seek(&pb::SeekRequest { subscription, target })).await?;
        }
        "detach" => {
            let Empty {} = parse(body)?;
            shared.keep(|state, _| state.detach_subscription(name)).await?;
        }
        _ => return Err(unimplemented(&Method::POST, &format!("{name}:{verb}"))),
    }
    Ok(answer(&json!({})))
}

/// An empty body is an empty object.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))
}

fn page_of<T: Serialize>(name: &str, items: Vec<T>, next_page_token: String) -> Value {
    let mut page = serde_json::Map::new();
    if !items.is_empty() {
        page.insert(name.into(), json!(items));
    }
    if !next_page_token.is_empty() {
        page.insert("nextPageToken".into(), next_page_token.into());
    }
    page.into()
}

fn answer(body: &impl Serialize) -> Response {
    respond(StatusCode::OK, body)
}

/// With the indentation of Google's own answers.
fn respond(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec_pretty(body) {
        Ok(mut text) => {
            text.push(b'\n');
            (status, [(header::CONTENT_TYPE, "application/json; charset=UTF-8")], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn refusal(status: &Status) -> Response {
    let (code, name) = http_of(status.code());
    let mut error = json!({"code": code.as_u16(), "message": status.message(), "status": name});
    if let Some(info) = reasons(status) {
        error["details"] = json!([{
            "@type": ERROR_INFO, "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        }]);
    }
    respond(code, &json!({"error": error}))
}

/// The one table from gRPC codes to HTTP statuses, that of `google/rpc/code.proto`.
fn http_of(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::Ok => (StatusCode::OK, "OK"),
        Code::Cancelled => (StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST), "CANCELLED"),
        Code::Unknown => (StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN"),
        Code::InvalidArgument => (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT"),
        Code::DeadlineExceeded => (StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED"),
        Code::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND"),
        Code::AlreadyExists => (StatusCode::CONFLICT, "ALREADY_EXISTS"),
        Code::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
        Code::ResourceExhausted => (StatusCode::TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED"),
        Code::FailedPrecondition => (StatusCode::BAD_REQUEST, "FAILED_PRECONDITION"),
        Code::Aborted => (StatusCode::CONFLICT, "ABORTED"),
        Code::OutOfRange => (StatusCode::BAD_REQUEST, "OUT_OF_RANGE"),
        Code::Unimplemented => (StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL"),
        Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"),
        Code::DataLoss => (StatusCode::INTERNAL_SERVER_ERROR, "DATA_LOSS"),
        Code::Unauthenticated => (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
    }
}

fn unimplemented(method: &Method, path: &str) -> Status {
    Status::unimplemented(format!("This local Pub/Sub has no method {method} /v1/{path}."))
}
