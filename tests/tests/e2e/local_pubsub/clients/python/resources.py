

# Topics, subscriptions, snapshots and policies.


@scenario
def errors():
    topic = new_topic("errors")
    missing = publisher.topic_path(PROJECT, "missing")
    refused(exceptions.AlreadyExists, lambda: publisher.create_topic(name=topic))
    refused(exceptions.NotFound, lambda: publisher.get_topic(topic=missing))
    refused(exceptions.NotFound, lambda: publish(missing, b"x"))
    refused(exceptions.InvalidArgument, lambda: publisher.create_topic(name=f"projects/{PROJECT}/topics/9"))
    # Without the client's own attributes, which would make it a message.
    empty = {"topic": topic, "messages": [types.PubsubMessage()]}
    refused(exceptions.InvalidArgument, lambda: PublisherClient.publish(publisher, request=empty))
    nowhere = subscriber.subscription_path(PROJECT, "nowhere")
    refused(exceptions.NotFound, lambda: subscriber.create_subscription(name=nowhere, topic=missing))
    refused(exceptions.NotFound, lambda: subscriber.pull(subscription=nowhere, max_messages=1))
    refused(exceptions.NotFound, lambda: subscriber.delete_subscription(subscription=nowhere))
    refused(exceptions.NotFound, lambda: subscriber.subscribe(nowhere, callback=acknowledge).result(timeout=PATIENCE))


@scenario
def error_texts():
    topic = new_topic("error-texts")
    why = refused(exceptions.AlreadyExists, lambda: publisher.create_topic(name=topic))
    assert "Resource already exists in the project (resource=error-texts)" in str(why), why
    missing = publisher.topic_path(PROJECT, "missing")
    why = refused(exceptions.NotFound, lambda: publisher.get_topic(topic=missing))
    assert "Resource not found (resource=missing)" in str(why), why


@scenario
def reserved_attributes():
    topic = new_topic("reserved")
    for name in ["googclient_schemaencoding", "goog-x", "google"]:
        refused(exceptions.InvalidArgument, lambda name=name: publish(topic, b"x", **{name: "JSON"}))


@scenario
def paging():
    other = f"{PROJECT}-paging"
    topics = [publisher.create_topic(name=publisher.topic_path(other, f"topic-{n}")).name for n in range(5)]
    names = [subscriber.subscription_path(other, f"subscription-{n}") for n in range(5)]
    for name in names:
        subscriber.create_subscription(name=name, topic=topics[0])
    project = f"projects/{other}"
    for call, field, request, expected in [
        (publisher.list_topics, "topics", {"project": project}, topics),
        (subscriber.list_subscriptions, "subscriptions", {"project": project}, names),
        (publisher.list_topic_subscriptions, "subscriptions", {"topic": topics[0]}, names),
    ]:
        pages = [getattr(page, field) for page in call(request={**request, "page_size": 2}).pages]
        equal([len(page) for page in pages], [2, 2, 1])
        found = [getattr(one, "name", one) for page in pages for one in page]
        equal(found, expected)


@scenario
def page_tokens():
    request = {"project": f"projects/{PROJECT}", "page_token": "?"}
    refused(exceptions.InvalidArgument, lambda: publisher.list_topics(request=request))


@scenario
def settings():
    dead = new_topic("settings-dead")
    _, path = new_pair(
        "settings",
        ack_deadline_seconds=20,
        filter='attributes.kind = "ticket"',
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 7},
        retry_policy={"minimum_backoff": seconds(1), "maximum_backoff": seconds(9)},
        expiration_policy={},
        enable_message_ordering=True,
        enable_exactly_once_delivery=True,
        retain_acked_messages=True,
        message_retention_duration=seconds(3600),
        labels={"env": "dev"},
    )
    found = subscriber.get_subscription(subscription=path)
    equal(found.ack_deadline_seconds, 20)
    equal(found.filter, 'attributes.kind = "ticket"')
    equal((found.dead_letter_policy.dead_letter_topic, found.dead_letter_policy.max_delivery_attempts), (dead, 7))
    equal((found.retry_policy.minimum_backoff.seconds, found.retry_policy.maximum_backoff.seconds), (1, 9))
    assert found.enable_message_ordering and found.enable_exactly_once_delivery and found.retain_acked_messages
    equal((found.message_retention_duration.seconds, dict(found.labels)), (3600, {"env": "dev"}))


def update(path, mask, **fields):
    subscription = types.Subscription(name=path, **fields)
    return subscriber.update_subscription(subscription=subscription, update_mask=field_mask_pb2.FieldMask(paths=mask))


@scenario
def updates():
    _, path = new_pair("updates", ack_deadline_seconds=20, filter='attributes.kind = "ticket"')
    changed = update(path, ["ack_deadline_seconds"], ack_deadline_seconds=30, retain_acked_messages=True)
    equal((changed.ack_deadline_seconds, changed.retain_acked_messages), (30, False))
    equal(changed.filter, 'attributes.kind = "ticket"')
    changed = update(path, ["retain_acked_messages", "retry_policy"], retain_acked_messages=True, retry_policy={})
    equal((changed.ack_deadline_seconds, changed.retain_acked_messages), (30, True))
    subscriber.modify_push_config(
        subscription=path, push_config=types.PushConfig(push_endpoint="http://127.0.0.1:9/push")
    )
    equal(subscriber.get_subscription(subscription=path).push_config.push_endpoint, "http://127.0.0.1:9/push")
    subscriber.modify_push_config(subscription=path, push_config=types.PushConfig())


@scenario
def updates_of_labels():
    topic, path = new_pair("labels")
    equal(dict(update(path, ["labels"], labels={"a": "b"}).labels), {"a": "b"})
    changed = publisher.update_topic(
        topic=types.Topic(name=topic, labels={"c": "d"}), update_mask=field_mask_pb2.FieldMask(paths=["labels"])
    )
    equal(dict(changed.labels), {"c": "d"})


@scenario
def updates_within_a_field():
    dead = new_topic("nested-dead")
    _, path = new_pair(
        "nested",
        dead_letter_policy={"dead_letter_topic": dead, "max_delivery_attempts": 7},
        retry_policy={"minimum_backoff": seconds(1), "maximum_backoff": seconds(9)},
    )
    mask = ["dead_letter_policy.max_delivery_attempts", "retry_policy.minimum_backoff"]
    changed = update(
        path,
        mask,
        dead_letter_policy={"max_delivery_attempts": 9},
        retry_policy={"minimum_backoff": seconds(2)},
    )
    equal((changed.dead_letter_policy.dead_letter_topic, changed.dead_letter_policy.max_delivery_attempts), (dead, 9))
    equal((changed.retry_policy.minimum_backoff.seconds, changed.retry_policy.maximum_backoff.seconds), (2, 9))


@scenario
def updates_refused():
    _, path = new_pair("immutable")
    for mask, fields in [
        (["filter"], {"filter": "attributes:a"}),
        (["enable_message_ordering"], {"enable_message_ordering": True}),
        (["no_such_field"], {}),
        ([], {}),
    ]:
        refused(exceptions.InvalidArgument, lambda mask=mask, fields=fields: update(path, mask, **fields))
    refused(exceptions.NotFound, lambda: update(path + "-missing", ["ack_deadline_seconds"], ack_deadline_seconds=20))


@scenario
def snapshots():
    topic, path = new_pair("snapshots")
    publish(topic, b"kept")
    name = subscriber.snapshot_path(PROJECT, "snapshot")
    made = subscriber.create_snapshot(name=name, subscription=path)
    equal((made.name, made.topic), (name, topic))
    refused(exceptions.AlreadyExists, lambda: subscriber.create_snapshot(name=name, subscription=path))
    pull(path, 1)
    subscriber.seek(request={"subscription": path, "snapshot": name})
    equal(pull(path, 1)[0].data, b"kept")
    assert name in [one.name for one in subscriber.list_snapshots(project=f"projects/{PROJECT}")]
    equal(list(publisher.list_topic_snapshots(topic=topic)), [name])
    subscriber.delete_snapshot(snapshot=name)
    refused(exceptions.NotFound, lambda: subscriber.get_snapshot(snapshot=name))


@scenario
def labels_of_snapshots():
    _, path = new_pair("snapshot-labels")
    name = subscriber.snapshot_path(PROJECT, "labelled")
    subscriber.create_snapshot(request={"name": name, "subscription": path, "labels": {"a": "b"}})
    equal(dict(subscriber.get_snapshot(snapshot=name).labels), {"a": "b"})
    changed = subscriber.update_snapshot(
        snapshot=types.Snapshot(name=name, labels={"c": "d"}), update_mask=field_mask_pb2.FieldMask(paths=["labels"])
    )
    equal(dict(changed.labels), {"c": "d"})
    subscriber.delete_snapshot(snapshot=name)


@scenario
def policies():
    topic, path = new_pair("policies")
    for client, resource in [(publisher, topic), (subscriber, path)]:
        policy = client.get_iam_policy(request={"resource": resource})
        equal(len(policy.bindings), 0)
        policy.bindings.add(role="roles/pubsub.viewer", members=["user:someone@example.com"])
        client.set_iam_policy(request={"resource": resource, "policy": policy})
        found = client.get_iam_policy(request={"resource": resource})
        equal([binding.role for binding in found.bindings], ["roles/pubsub.viewer"])
        asked = ["pubsub.topics.get"] if client is publisher else ["pubsub.subscriptions.consume"]
        granted = client.test_iam_permissions(request={"resource": resource, "permissions": asked})
        equal(list(granted.permissions), asked)


@scenario
def deletions():
    topic, path = new_pair("deletions")
    kept = new_subscription("deletions-kept", topic)
    subscriber.delete_subscription(subscription=path)
    refused(exceptions.NotFound, lambda: subscriber.get_subscription(subscription=path))
    publisher.delete_topic(topic=topic)
    refused(exceptions.NotFound, lambda: publisher.get_topic(topic=topic))
    equal(subscriber.get_subscription(subscription=kept).topic, "_deleted-topic_")


@scenario
def detached_subscriptions():
    _, path = new_pair("detached")
    publisher.detach_subscription(request={"subscription": path})
    refused(exceptions.FailedPrecondition, lambda: subscriber.pull(subscription=path, max_messages=1))
    assert subscriber.get_subscription(subscription=path).detached
