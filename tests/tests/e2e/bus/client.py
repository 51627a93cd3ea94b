"""Google's client against a local Pub/Sub: topic, filtered subscription, publish, pull, acknowledge, streaming pull."""

import os
import threading

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber import exceptions as subscriber_exceptions

project = os.environ["GOOGLE_CLOUD_PROJECT"]
publisher = pubsub_v1.PublisherClient(
    publisher_options=pubsub_v1.types.PublisherOptions(enable_message_ordering=True)
)
subscriber = pubsub_v1.SubscriberClient()
topic = publisher.topic_path(project, "python")


def refused(error, call):
    try:
        call()
    except error as why:
        return str(why)
    raise AssertionError(f"{error.__name__} expected")


publisher.create_topic(name=topic)
assert "Resource already exists in the project (resource=python)" in refused(
    exceptions.AlreadyExists, lambda: publisher.create_topic(name=topic)
)
assert "Resource not found (resource=missing)" in refused(
    exceptions.NotFound, lambda: publisher.get_topic(topic=publisher.topic_path(project, "missing"))
)


def create(name, **fields):
    path = subscriber.subscription_path(project, name)
    subscriber.create_subscription(request={"name": path, "topic": topic, **fields})
    return path


filtered = create("filtered", filter='attributes.kind = "ticket"')
once = create("once", enable_exactly_once_delivery=True, enable_message_ordering=True)
assert [s.name for s in subscriber.list_subscriptions(project=f"projects/{project}")] == [filtered, once]

for n in range(50):
    kind = "ticket" if n % 10 == 0 else "other"
    publisher.publish(topic, str(n).encode(), ordering_key="key", kind=kind).result(timeout=30)

# Unary pull.
pulled = []
while len(pulled) < 5:
    response = subscriber.pull(subscription=filtered, max_messages=10, timeout=30)
    pulled += [m.message.data.decode() for m in response.received_messages]
    subscriber.acknowledge(subscription=filtered, ack_ids=[m.ack_id for m in response.received_messages])
assert pulled == ["0", "10", "20", "30", "40"], pulled
update = pubsub_v1.types.Subscription(name=filtered, ack_deadline_seconds=30)
updated = subscriber.update_subscription(
    request={"subscription": update, "update_mask": {"paths": ["ack_deadline_seconds"]}}
)
assert updated.ack_deadline_seconds == 30 and updated.filter == 'attributes.kind = "ticket"'

# Streaming pull, exactly once, in order; the first delivery of one message is refused.
received, done, refusals = [], threading.Event(), []


def callback(message):
    data = int(message.data)
    if data == 25 and not refusals:
        refusals.append(message)
        message.nack_with_response().result(timeout=30)
        return
    message.ack_with_response().result(timeout=30)
    received.append(data)
    if data == 49:
        done.set()


stream = subscriber.subscribe(once, callback=callback)
assert done.wait(60), received
stream.cancel()
stream.result(timeout=30)
assert sorted(set(received)) == list(range(50)), received
assert refusals

# The acknowledgement of a delivery that is over fails, and says why.
publisher.publish(topic, b"last", ordering_key="key").result(timeout=30)
first = subscriber.pull(subscription=once, max_messages=1, timeout=30).received_messages[0]
subscriber.modify_ack_deadline(subscription=once, ack_ids=[first.ack_id], ack_deadline_seconds=0)
second = subscriber.pull(subscription=once, max_messages=1, timeout=30).received_messages[0]
assert first.message.message_id == second.message.message_id
try:
    subscriber.acknowledge(subscription=once, ack_ids=[first.ack_id])
    raise AssertionError("an old acknowledgement id was taken")
except exceptions.FailedPrecondition as error:
    metadata = error.details[0].metadata
    assert metadata[first.ack_id] == "PERMANENT_FAILURE_INVALID_ACK_ID", metadata
subscriber.acknowledge(subscription=once, ack_ids=[second.ack_id])
assert subscriber_exceptions.AcknowledgeStatus.INVALID_ACK_ID.value

subscriber.delete_subscription(subscription=filtered)
subscriber.delete_subscription(subscription=once)
publisher.delete_topic(topic=topic)
print("all well")
