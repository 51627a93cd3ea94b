//! Pub/Sub's gRPC services. The protobuf types are those of a published crate; the methods are routed here.
//!
//! `streaming` has StreamingPull; `api` has the methods that REST shares.

mod streaming;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

use super::api;
use super::shared::Shared;
use streaming::MAX_REQUEST_BYTES;

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/google.pubsub.v1.Publisher/{method}", post(publisher))
        .route("/google.pubsub.v1.Subscriber/{method}", post(subscriber))
        .route("/google.pubsub.v1.SchemaService/{method}", post(schema_service))
        .route("/google.iam.v1.IAMPolicy/{method}", post(iam_policy))
        .layer(from_fn(expect_grpc))
        .with_state(shared)
}

/// Whether a request is one of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Answers other requests as the protocol requires:
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>.
async fn expect_grpc(request: Request, next: Next) -> Response {
    if is_grpc(request.headers()) {
        return next.run(request).await;
    }
    (StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected Content-Type: application/grpc on the path of a gRPC method\n")
        .into_response()
}

/// The response to a request to a service that does not exist here.
pub(super) fn unknown_service(path: &str) -> Response {
    Status::unimplemented(format!("This local Pub/Sub has no method {}.", path.trim_start_matches('/')))
        .into_http::<Body>()
}

/// The response to a request that may not be sent.
pub(super) fn forbidden(why: String) -> Response {
    Status::permission_denied(why).into_http::<Body>()
}

async fn publisher(State(shared): State<Arc<Shared>>, Path(method): Path<String>, request: Request) -> Response {
    let shared = &shared;
    match method.as_str() {
        "CreateTopic" => {
            unary(request, async |topic| shared.update_durably(|state, _| state.create_topic(topic)).await).await
        }
        "UpdateTopic" => {
            unary(request, async |update| shared.update_durably(|state, _| state.update_topic(update)).await).await
        }
        "Publish" => unary(request, async |publish| api::publish(shared, publish).await).await,
        "GetTopic" => {
            unary(request, async |get: pb::GetTopicRequest| shared.with_state(|state, _| state.get_topic(&get.topic)))
                .await
        }
        "ListTopics" => unary(request, async |list| shared.with_state(|state, _| state.list_topics(&list))).await,
        "ListTopicSubscriptions" => {
            unary(request, async |list| shared.with_state(|state, _| state.list_topic_subscriptions(&list))).await
        }
        "ListTopicSnapshots" => {
            unary(request, async |list| shared.with_state(|state, _| state.list_topic_snapshots(&list))).await
        }
        "DeleteTopic" => {
            unary(request, async |delete: pb::DeleteTopicRequest| {
                shared.update_durably(|state, _| state.delete_topic(&delete.topic)).await
            })
            .await
        }
        "DetachSubscription" => {
            unary(request, async |detach: pb::DetachSubscriptionRequest| {
                shared.update_durably(|state, _| state.detach_subscription(&detach.subscription)).await?;
                Ok(pb::DetachSubscriptionResponse {})
            })
            .await
        }
        _ => unimplemented("google.pubsub.v1.Publisher", &method),
    }
}

async fn subscriber(State(shared): State<Arc<Shared>>, Path(method): Path<String>, request: Request) -> Response {
    let shared = &shared;
    match method.as_str() {
        "CreateSubscription" => unary(request, async |create| api::create_subscription(shared, create).await).await,
        "GetSubscription" => {
            unary(request, async |get: pb::GetSubscriptionRequest| {
                shared.with_state(|state, _| state.get_subscription(&get.subscription))
            })
            .await
        }
        "UpdateSubscription" => unary(request, async |update| api::update_subscription(shared, update).await).await,
        "ListSubscriptions" => {
            unary(request, async |list| shared.with_state(|state, _| state.list_subscriptions(&list))).await
        }
        "DeleteSubscription" => {
            unary(request, async |delete: pb::DeleteSubscriptionRequest| {
                shared.update_durably(|state, _| state.delete_subscription(&delete.subscription)).await
            })
            .await
        }
        "ModifyPushConfig" => unary(request, async |modify| api::modify_push_config(shared, modify).await).await,
        "Pull" => unary(request, async |request| api::pull(shared, request).await).await,
        "Acknowledge" => unary(request, async |request| api::acknowledge(shared, request).await).await,
        "ModifyAckDeadline" => unary(request, async |request| api::modify_ack_deadline(shared, request)).await,
        "Seek" => {
            unary(request, async |seek| {
                shared.update_durably(|state, _| state.seek(&seek)).await?;
                Ok(pb::SeekResponse {})
            })
            .await
        }
        "CreateSnapshot" => {
            unary(request, async |create| shared.update_durably(|state, now| state.create_snapshot(now, create)).await)
                .await
        }
        "UpdateSnapshot" => {
            unary(request, async |update| shared.update_durably(|state, _| state.update_snapshot(update)).await).await
        }
        "GetSnapshot" => {
            unary(request, async |get: pb::GetSnapshotRequest| {
                shared.with_state(|state, _| state.get_snapshot(&get.snapshot))
            })
            .await
        }
        "ListSnapshots" => unary(request, async |list| shared.with_state(|state, _| state.list_snapshots(&list))).await,
        "DeleteSnapshot" => {
            unary(request, async |delete: pb::DeleteSnapshotRequest| {
                shared.update_durably(|state, _| state.delete_snapshot(&delete.snapshot)).await
            })
            .await
        }
        "StreamingPull" => streaming::serve(shared, request).await,
        _ => unimplemented("google.pubsub.v1.Subscriber", &method),
    }
}

async fn iam_policy(State(shared): State<Arc<Shared>>, Path(method): Path<String>, request: Request) -> Response {
    let shared = &shared;
    match method.as_str() {
        "GetIamPolicy" => {
            unary(request, async |get: iam::GetIamPolicyRequest| {
                shared.with_state(|state, _| state.get_iam_policy(&get))
            })
            .await
        }
        "SetIamPolicy" => {
            unary(request, async |set| shared.update_durably(|state, _| state.set_iam_policy(set)).await).await
        }
        "TestIamPermissions" => {
            unary(request, async |test| shared.with_state(|state, _| state.test_iam_permissions(test))).await
        }
        _ => unimplemented("google.iam.v1.IAMPolicy", &method),
    }
}

async fn schema_service(Path(method): Path<String>) -> Response {
    let why = format!(
        "This local Pub/Sub has no schemas (google.pubsub.v1.SchemaService/{method}): topics take messages of any form."
    );
    Status::unimplemented(why).into_http::<Body>()
}

fn unimplemented(service: &str, method: &str) -> Response {
    let why = format!("This local Pub/Sub has no method {service}/{method}.");
    Status::unimplemented(why).into_http::<Body>()
}

/// A method with one request and one response.
struct Unary<F>(F);

impl<Req, Res, F, Fut> UnaryService<Req> for Unary<F>
where
    F: FnMut(Req) -> Fut,
    Fut: Future<Output = Result<Res, Status>>,
{
    type Response = Res;
    type Future = futures_util::future::MapOk<Fut, fn(Res) -> tonic::Response<Res>>;

    fn call(&mut self, request: tonic::Request<Req>) -> Self::Future {
        use futures_util::TryFutureExt;
        (self.0)(request.into_inner()).map_ok(tonic::Response::new)
    }
}

async fn unary<Req, Res, Fut>(request: Request, call: impl FnMut(Req) -> Fut) -> Response
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Send + 'static,
    Fut: Future<Output = Result<Res, Status>>,
{
    let grpc = Grpc::new(ProstCodec::<Res, Req>::default()).max_decoding_message_size(MAX_REQUEST_BYTES);
    // The Go, Java and C++ publishers can compress. The limit holds for the decompressed request.
    let mut grpc = grpc.accept_compressed(CompressionEncoding::Gzip);
    grpc.unary(Unary(call), request).await.map(Body::new)
}
