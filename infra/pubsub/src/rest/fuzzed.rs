//! Damaged request bodies. How it is run: the crate `fuzz`.

use fuzz::Damaged;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;

use tonic::Code;

use super::*;

const SEEDS: [&str; 7] = [
    r#"{"messages": [{"data": "aGVsbG8=", "attributes": {"a": "b"}, "orderingKey": "k"}, {"data": "_-8"}]}"#,
    r#"{"topic": "projects/p/topics/t", "pushConfig": {"pushEndpoint": "http://127.0.0.1:1/", "oidcToken":
        {"serviceAccountEmail": "a@b.c", "audience": "x"}, "noWrapper": {"writeMetadata": true}},
        "ackDeadlineSeconds": 10, "retainAckedMessages": true, "messageRetentionDuration": "604800s", "labels": {"a": "b"},
        "enableMessageOrdering": true, "expirationPolicy": {"ttl": "2678400.5s"}, "filter": "attributes:a",
        "deadLetterPolicy": {"deadLetterTopic": "projects/p/topics/d", "maxDeliveryAttempts": 5},
        "retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "600s"}, "enableExactlyOnceDelivery": false}"#,
    r#"{"subscription": {"name": "projects/p/subscriptions/s", "ackDeadlineSeconds": "20"}, "updateMask": "filter"}"#,
    r#"{"ackIds": ["a", "b"], "ackDeadlineSeconds": 0, "maxMessages": "7", "return_immediately": true}"#,
    r#"{"snapshot": {"labels": {"a": "b"}, "expireTime": "2026-11-24T10:00:00Z"}, "updateMask": "labels.a,expireTime",
        "subscription": "projects/p/subscriptions/s", "permissions": ["pubsub.topics.get"]}"#,
    r#"{"policy": {"version": 3, "bindings": [{"role": "roles/viewer", "members": ["allUsers"], "condition":
        {"expression": "true"}}], "auditConfigs": [{"service": "allServices", "auditLogConfigs": [{"logType":
        "DATA_READ"}]}], "etag": "ACAB"}, "updateMask": "bindings"}"#,
    r#"{"time": "2026-11-24T10:00:00.123456789Z"}"#,
];

/// Every kind of body is read, or refused in words.
#[test]
fn bodies_are_read_or_refused() {
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |damaged: &Damaged| {
            let body = damaged.bytes(&SEEDS, fuzz::JSON);
            let refusals = [
                parse::<PublishRequest>(&body).map(|publish| drop(publish.for_topic("projects/p/topics/t"))),
                parse::<Topic>(&body).and_then(|topic| pb::Topic::try_from(topic).map(drop)),
                parse::<Subscription>(&body)
                    .and_then(|subscription| pb::Subscription::try_from(subscription).map(drop)),
                parse::<UpdateSubscriptionRequest>(&body)
                    .and_then(|update| pb::UpdateSubscriptionRequest::try_from(update).map(drop)),
                parse::<PullRequest>(&body).map(drop),
                parse::<AcknowledgeRequest>(&body).map(drop),
                parse::<ModifyAckDeadlineRequest>(&body).map(drop),
                parse::<snapshots::CreateSnapshotRequest>(&body).map(drop),
                parse::<snapshots::UpdateSnapshotRequest>(&body).map(drop),
                parse::<policies::Permissions>(&body).map(drop),
                parse::<policies::SetIamPolicyRequest>(&body)
                    .and_then(|set| set.for_resource("projects/p/topics/t").map(drop)),
                parse::<SeekRequest>(&body).and_then(|seek| seek.target().map(drop)),
            ];
            for refusal in refusals.into_iter().filter_map(Result::err) {
                assert!(!refusal.message().is_empty() && refusal.code() == Code::InvalidArgument, "{refusal:?}");
            }
        },
    );
}
