"""Google's client against a local Pub/Sub: topic, filtered subscription, publish, pull, acknowledge, streaming pull."""

import os
import threading

from google.api_core import exceptions
from google.cloud import pubsub_v1

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
again = create("again", enable_exactly_once_delivery=True)
assert [s.name for s in subscriber.list_subscriptions(project=f"projects/{project}")] == [again, filtered, once]

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



def stream(path, count, handle):
    """Messages of a streaming pull, until so many are acknowledged."""
    acknowledged, done = [], threading.Event()

    def callback(message):
        if not handle(message):
            return
        acknowledged.append(int(message.data))
        if len(acknowledged) == count:
            done.set()

    pulling = subscriber.subscribe(path, callback=callback)
    assert done.wait(60), acknowledged
    pulling.cancel()
    pulling.result(timeout=30)
    return acknowledged


def acknowledge(message):
    message.ack_with_response().result(timeout=30)
    return True


# Exactly once, in order.
assert stream(once, 50, acknowledge) == list(range(50))

# The first delivery of every fifth message is refused.
refusals = set()


def refuse_some(message):
    if int(message.data) % 5 == 0 and message.message_id not in refusals:
        refusals.add(message.message_id)
        message.nack_with_response().result(timeout=30)
        return False
    return acknowledge(message)


assert sorted(stream(again, 50, refuse_some)) == list(range(50))
assert len(refusals) == 10

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

for path in [again, filtered, once]:
    subscriber.delete_subscription(subscription=path)
publisher.delete_topic(topic=topic)
print("all well")
