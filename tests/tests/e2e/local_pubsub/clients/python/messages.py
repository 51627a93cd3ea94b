

# Messages, from publish to acknowledgement.


@scenario
def batches():
    topic, path = new_pair("batches")
    sent = [publisher.publish(topic, str(n).encode(), n=str(n)) for n in range(200)]
    ids = [one.result(timeout=PATIENCE) for one in sent]
    messages = pull(path, 200)
    equal(sorted(m.message_id for m in messages), sorted(ids))
    equal(sorted((m.data.decode(), m.attributes["n"]) for m in messages), sorted((str(n), str(n)) for n in range(200)))


@scenario
def ordering():
    topic, path = new_pair("ordering", enable_message_ordering=True)
    sent = [publisher.publish(topic, str(n).encode(), ordering_key=f"key-{n % 3}") for n in range(90)]
    for one in sent:
        one.result(timeout=PATIENCE)
    messages = stream(path, 90, acknowledge)
    for key in range(3):
        came = [int(m.data) for m in messages if m.ordering_key == f"key-{key}"]
        equal(came, list(range(key, 90, 3)))


@scenario
def filters():
    topic, path = new_pair("filters", filter='attributes.kind = "ticket"')
    for n in range(50):
        publish(topic, str(n).encode(), kind="ticket" if n % 10 == 0 else "other")
    equal([int(m.data) for m in pull(path, 5)], [0, 10, 20, 30, 40])
    refused(exceptions.InvalidArgument, lambda: new_subscription("no-filter", topic, filter="attributes"))


@scenario
def refusals():
    """The first delivery of every fifth message is refused."""
    topic, path = new_pair("refusals")
    for n in range(50):
        publisher.publish(topic, str(n).encode())
    seen = set()
    equal(sorted(int(m.data) for m in stream(path, 50, refuse_every_fifth(seen))), list(range(50)))
    equal(len(seen), 10)


@scenario
def exactly_once():
    topic, path = new_pair("once", enable_exactly_once_delivery=True, enable_message_ordering=True)
    for n in range(50):
        publisher.publish(topic, str(n).encode(), ordering_key="key")
    equal([int(m.data) for m in stream(path, 50, acknowledge)], list(range(50)))


@scenario
def exactly_once_refusals():
    topic, path = new_pair("again", enable_exactly_once_delivery=True)
    for n in range(50):
        publisher.publish(topic, str(n).encode())
    seen = set()
    equal(sorted(int(m.data) for m in stream(path, 50, refuse_every_fifth(seen))), list(range(50)))
    equal(len(seen), 10)


@scenario
def ordered_refusals():
    """What follows a refused message of the same key waits for it."""
    topic, path = new_pair("in-order", enable_message_ordering=True)
    for n in range(20):
        publisher.publish(topic, str(n).encode(), ordering_key="key")
    seen = set()
    one_by_one = types.FlowControl(max_messages=1)
    messages = stream(path, 20, refuse_every_fifth(seen), flow_control=one_by_one)
    equal([int(m.data) for m in messages], list(range(20)))
    equal(len(seen), 4)


@scenario
def stale_acknowledgements():
    topic, path = new_pair("stale", enable_exactly_once_delivery=True)
    publish(topic, b"x")
    first = subscriber.pull(subscription=path, max_messages=1, timeout=PATIENCE).received_messages[0]
    subscriber.modify_ack_deadline(subscription=path, ack_ids=[first.ack_id], ack_deadline_seconds=0)
    second = subscriber.pull(subscription=path, max_messages=1, timeout=PATIENCE).received_messages[0]
    equal(first.message.message_id, second.message.message_id)
    acknowledge_first = lambda: subscriber.acknowledge(subscription=path, ack_ids=[first.ack_id])
    why = refused(exceptions.FailedPrecondition, acknowledge_first)
    equal(dict(why.details[0].metadata), {first.ack_id: "PERMANENT_FAILURE_INVALID_ACK_ID"})
    subscriber.acknowledge(subscription=path, ack_ids=[second.ack_id])


def leases():
    """A message that takes longer than the acknowledgement deadline comes once."""
    topic, path = new_pair("leases", ack_deadline_seconds=10)
    publish(topic, b"slow")
    deliveries = []

    def handle(message):
        deliveries.append(message.message_id)
        time.sleep(11)
        return acknowledge(message)

    stream(path, 1, handle)
    equal(len(deliveries), 1)
    rest = subscriber.pull(request={"subscription": path, "max_messages": 1, "return_immediately": True})
    equal(len(rest.received_messages), 0)


# It takes longer than all the others together, and traces change nothing of it.
if not TRACING:
    scenario(leases)


@scenario
def idle():
    """A stream on which only keep-alives go stays the same stream, and still brings messages."""
    topic, path = new_pair("idle", ack_deadline_seconds=10)
    stream(path, 1, acknowledge, lambda: (time.sleep(20 * KEEP_ALIVE), publish(topic, b"late")))
    equal(Subscriber.opened.count(f"subscription={path}"), 1)


@scenario
def dead_letters():
    dead, letters = new_pair("dead-letters")
    policy = {"dead_letter_topic": dead, "max_delivery_attempts": 5}
    topic, path = new_pair("poison", dead_letter_policy=policy)
    publish(topic, b"poison", own="kept")
    attempts = []

    def refuse(message):
        attempts.append(message.delivery_attempt)
        message.nack()
        return len(attempts) == 5

    stream(path, 1, refuse)
    equal(attempts, [1, 2, 3, 4, 5])
    # The emulator forwards a dead letter when the next pull comes.
    subscriber.pull(request={"subscription": path, "max_messages": 1, "return_immediately": True})
    letter = pull(letters, 1)[0]
    equal((letter.data, letter.attributes["own"]), (b"poison", "kept"))
    equal(letter.attributes["CloudPubSubDeadLetterSourceSubscription"], "poison")


@scenario
def seeks():
    topic, path = new_pair("seeks", retain_acked_messages=True)
    publish(topic, b"first")
    pull(path, 1)
    past = datetime(2020, 1, 1, tzinfo=timezone.utc)
    subscriber.seek(request={"subscription": path, "time": past})
    equal(pull(path, 1)[0].data, b"first")
    publish(topic, b"second")
    subscriber.seek(request={"subscription": path, "time": datetime(2100, 1, 1, tzinfo=timezone.utc)})
    rest = subscriber.pull(request={"subscription": path, "max_messages": 10, "return_immediately": True})
    equal(len(rest.received_messages), 0)


@scenario
def traces():
    """The context of a trace goes with the message where tracing is on, and the subscriber's span continues it."""
    topic, path = new_pair("traces", enable_message_ordering=True)
    sent = [publisher.publish(topic, b"x", ordering_key=key, own="kept") for key in ["", "", "key"]]
    for one in sent:
        one.result(timeout=PATIENCE)
    messages = stream(path, 3, acknowledge)
    for message in messages:
        equal(message.attributes["own"], "kept")
        equal("googclient_traceparent" in message.attributes, TRACING)
    if TRACING:
        parents = {m.attributes["googclient_traceparent"].split("-")[1] for m in messages}
        found = [s for s in spans.get_finished_spans() if s.name == "traces subscribe"]
        equal({f"{span.context.trace_id:032x}" for span in found}, parents)
