"""Google's Python client against a Pub/Sub: all scenarios at once; prints which passed, and why the others did not.

PUBSUB_EMULATOR_HOST and GOOGLE_CLOUD_PROJECT say where, TRACING whether the client traces with OpenTelemetry.
"""

import json
import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from importlib.metadata import version
from urllib.parse import unquote

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber._protocol import heartbeater
from google.protobuf import duration_pb2, field_mask_pb2
from google.pubsub_v1 import PublisherClient
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
TRACING = os.environ["TRACING"] == "1"
# How long to wait for what should come soon.
PATIENCE = 60
# Keep-alives come every 30 s; one that is waited for in a test comes sooner.
KEEP_ALIVE = 0.1
heartbeater.Heartbeater.__init__.__defaults__ = (KEEP_ALIVE,)

# The client ends spans twice, and the SDK warns of each.
logging.getLogger("opentelemetry").setLevel(logging.ERROR)
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)

types = pubsub_v1.types
publisher = pubsub_v1.PublisherClient(
    batch_settings=types.BatchSettings(max_messages=50, max_latency=0.02),
    publisher_options=types.PublisherOptions(enable_message_ordering=True, enable_open_telemetry_tracing=TRACING),
)


class Subscriber(pubsub_v1.SubscriberClient):
    """Remembers for which subscription each stream was opened."""

    opened = []

    def streaming_pull(self, *requests, metadata=(), **rest):
        self.opened.append(unquote(dict(metadata).get("x-goog-request-params", "")))
        return super().streaming_pull(*requests, metadata=metadata, **rest)


subscriber = Subscriber(subscriber_options=types.SubscriberOptions(enable_open_telemetry_tracing=TRACING))

SCENARIOS = []


def scenario(run):
    SCENARIOS.append(run)
    return run


def refused(error, call):
    try:
        call()
    except error as why:
        return why
    raise AssertionError(f"{error.__name__} expected, nothing raised")


def equal(found, expected):
    assert found == expected, f"expected {expected!r}, found {found!r}"


def seconds(count):
    return duration_pb2.Duration(seconds=count)


def new_topic(name):
    return publisher.create_topic(name=publisher.topic_path(PROJECT, name)).name


def new_subscription(name, topic, **fields):
    path = subscriber.subscription_path(PROJECT, name)
    return subscriber.create_subscription(request={"name": path, "topic": topic, **fields}).name


def new_pair(name, **fields):
    topic = new_topic(name)
    return topic, new_subscription(name, topic, **fields)


def publish(topic, data, ordering_key="", **attributes):
    return publisher.publish(topic, data, ordering_key=ordering_key, **attributes).result(timeout=PATIENCE)


def pull(subscription, count):
    """That many messages by unary pulls, acknowledged."""
    messages = []
    while len(messages) < count:
        received = subscriber.pull(subscription=subscription, max_messages=100, timeout=PATIENCE).received_messages
        messages += [one.message for one in received]
        ids = [one.ack_id for one in received]
        if ids:
            subscriber.acknowledge(subscription=subscription, ack_ids=ids)
    return messages


def stream(subscription, count, handle, while_open=lambda: None, flow_control=types.FlowControl()):
    """Messages of a streaming pull until `handle` has taken so many; `while_open` runs meanwhile."""
    came, taken, done = [], set(), threading.Event()

    def callback(message):
        # A handler waits for the service; the next message of its key may overtake it there.
        came.append(message)
        if handle(message):
            taken.add(message.ack_id)
        if len(taken) == count:
            done.set()

    pulling = subscriber.subscribe(subscription, callback=callback, flow_control=flow_control)
    while_open()
    assert done.wait(PATIENCE), f"{len(taken)} of {count} messages came"
    pulling.cancel()
    pulling.result(timeout=PATIENCE)
    return [message for message in came if message.ack_id in taken]


def acknowledge(message):
    message.ack_with_response().result(timeout=PATIENCE)
    return True


def refuse_every_fifth(seen):
    def handle(message):
        if int(message.data) % 5 == 0 and message.message_id not in seen:
            seen.add(message.message_id)
            message.nack_with_response().result(timeout=PATIENCE)
            return False
        return acknowledge(message)

    return handle
