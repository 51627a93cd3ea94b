
// Messages, from publish to acknowledgement.
Object.assign(scenarios, {
  async batches() {
    const [topic] = await pair('batches');
    topic.setPublishOptions({batching: {maxMessages: 50, maxMilliseconds: 20}});
    const publish = n => topic.publishMessage({data: Buffer.from(`${n}`), attributes: {n: `${n}`}});
    const ids = await Promise.all(numbers(200).map(publish));
    const messages = await pull('batches', 200);
    assert.deepEqual(messages.map(m => m.messageId).sort(), ids.sort());
    assert(messages.every(m => m.data.toString() === m.attributes.n));
    assert.deepEqual(messages.map(number).sort(byNumber), numbers(200));
  },

  async ordering() {
    const [topic] = await pair('ordering', {enableMessageOrdering: true});
    topic.setPublishOptions({messageOrdering: true});
    const publish = n => topic.publishMessage({data: Buffer.from(`${n}`), orderingKey: `key-${n % 3}`});
    await Promise.all(numbers(90).map(publish));
    const messages = await stream('ordering', 90, acknowledge);
    for (const key of numbers(3)) {
      const came = messages.filter(m => m.orderingKey === `key-${key}`).map(number);
      assert.deepEqual(came, numbers(30).map(n => 3 * n + key));
    }
  },

  async filters() {
    const [topic] = await pair('filters', {filter: 'attributes.kind = "ticket"'});
    const kind = n => (n % 10 ? 'other' : 'ticket');
    const publish = n => topic.publishMessage({data: Buffer.from(`${n}`), attributes: {kind: kind(n)}});
    await Promise.all(numbers(50).map(publish));
    assert.deepEqual((await pull('filters', 5)).map(number).sort(byNumber), [0, 10, 20, 30, 40]);
    await refused(INVALID_ARGUMENT, topic.createSubscription('no-filter', {filter: 'attributes'}));
  },

  // The first delivery of every fifth message is refused.
  async refusals() {
    const [topic] = await pair('refusals');
    await Promise.all(numbers(50).map(n => topic.publishMessage({data: Buffer.from(`${n}`)})));
    const seen = new Set();
    const messages = await stream('refusals', 50, refuseEveryFifth(seen));
    assert.deepEqual(messages.map(number).sort(byNumber), numbers(50));
    assert.equal(seen.size, 10);
  },

  async exactly_once() {
    const [topic] = await pair('once', {enableExactlyOnceDelivery: true, enableMessageOrdering: true});
    topic.setPublishOptions({messageOrdering: true});
    await Promise.all(numbers(50).map(n => topic.publishMessage({data: Buffer.from(`${n}`), orderingKey: 'key'})));
    assert.deepEqual((await stream('once', 50, acknowledge)).map(number), numbers(50));
  },

  async exactly_once_refusals() {
    const [topic] = await pair('again', {enableExactlyOnceDelivery: true});
    await Promise.all(numbers(50).map(n => topic.publishMessage({data: Buffer.from(`${n}`)})));
    const seen = new Set();
    const messages = await stream('again', 50, refuseEveryFifth(seen));
    assert.deepEqual(messages.map(number).sort(byNumber), numbers(50));
    assert.equal(seen.size, 10);
  },

  // What follows a refused message of the same key waits for it.
  async ordered_refusals() {
    const [topic] = await pair('in-order', {enableMessageOrdering: true});
    topic.setPublishOptions({messageOrdering: true});
    await Promise.all(numbers(20).map(n => topic.publishMessage({data: Buffer.from(`${n}`), orderingKey: 'key'})));
    const seen = new Set();
    const oneByOne = {flowControl: {maxMessages: 1}, streamingOptions: {maxStreams: 1}};
    const messages = await stream('in-order', 20, refuseEveryFifth(seen), undefined, oneByOne);
    assert.deepEqual(messages.map(number), numbers(20));
    assert.equal(seen.size, 4);
  },

  async stale_acknowledgements() {
    const [topic, {name: subscription}] = await pair('stale', {enableExactlyOnceDelivery: true});
    await topic.publishMessage({data: Buffer.from('x')});
    const take = async () =>
      (await call('Subscriber', 'pull', {subscription, maxMessages: 1})).receivedMessages[0];
    const first = await take();
    const ackIds = [first.ackId];
    await call('Subscriber', 'modifyAckDeadline', {subscription, ackIds, ackDeadlineSeconds: 0});
    const second = await take();
    assert.equal(first.message.messageId, second.message.messageId);
    const why = await refused(FAILED_PRECONDITION, call('Subscriber', 'acknowledge', {subscription, ackIds}));
    const details = why.metadata.get('grpc-status-details-bin').join();
    assert(details.includes(first.ackId) && details.includes('PERMANENT_FAILURE_INVALID_ACK_ID'), details);
    await call('Subscriber', 'acknowledge', {subscription, ackIds: [second.ackId]});
  },

  // A message that takes longer than the acknowledgement deadline comes once.
  async leases() {
    const [topic] = await pair('leases', {ackDeadlineSeconds: 10});
    await topic.publishMessage({data: Buffer.from('slow')});
    let deliveries = 0;
    await stream('leases', 1, async message => {
      deliveries += 1;
      await sleep(11_000);
      return acknowledge(message);
    });
    assert.equal(deliveries, 1);
    assert.equal(await left('leases'), 0);
  },

  // Streams on which only keep-alives go stay the same streams, and still bring messages.
  async idle() {
    const [topic, {name}] = await pair('idle');
    const opened = () => streams.get(name) ?? [];
    await stream('idle', 1, acknowledge, async () => {
      // By its second keep-alive, a stream whose first was not answered has been replaced.
      const settled = () => opened().length > 5 || (opened().length === 5 && opened().every(sent => sent.length > 2));
      while (!settled()) await sleep(50);
      await topic.publishMessage({data: Buffer.from('late')});
    });
    assert.equal(opened().length, 5, 'the client opens five streams');
    assert(opened().every(sent => sent[0].protocolVersion === 1));
  },

  async dead_letters() {
    const [dead] = await pair('dead-letters');
    const policy = {deadLetterTopic: dead.name, maxDeliveryAttempts: 5};
    const [topic] = await pair('poison', {deadLetterPolicy: policy});
    await topic.publishMessage({data: Buffer.from('poison'), attributes: {own: 'kept'}});
    const attempts = [];
    await stream('poison', 1, message => {
      attempts.push(message.deliveryAttempt);
      message.nack();
      return attempts.length === 5;
    });
    assert.deepEqual(attempts, [1, 2, 3, 4, 5]);
    // The emulator forwards a dead letter when the next pull comes.
    await left('poison');
    const [letter] = await pull('dead-letters', 1);
    assert.equal(letter.data.toString(), 'poison');
    const {own, CloudPubSubDeadLetterSourceSubscription} = letter.attributes;
    assert.deepEqual([own, CloudPubSubDeadLetterSourceSubscription], ['kept', 'poison']);
  },

  async seeks() {
    const [topic, subscription] = await pair('seeks', {retainAckedMessages: true});
    await topic.publishMessage({data: Buffer.from('first')});
    await pull('seeks', 1);
    await subscription.seek(new Date('2020-01-01'));
    assert.equal((await pull('seeks', 1))[0].data.toString(), 'first');
    await topic.publishMessage({data: Buffer.from('second')});
    await subscription.seek(new Date('2100-01-01'));
    assert.equal(await left('seeks'), 0);
  },

  // The context of a trace goes with the message where tracing is on, and the subscriber's span continues it.
  async traces() {
    const [topic] = await pair('traces', {enableMessageOrdering: true});
    topic.setPublishOptions({messageOrdering: true});
    const message = key => ({data: Buffer.from('x'), attributes: {own: 'kept'}, orderingKey: key});
    await Promise.all([undefined, undefined, 'key'].map(key => topic.publishMessage(message(key))));
    const messages = await stream('traces', 3, acknowledge);
    for (const {attributes} of messages) {
      assert.equal(attributes.own, 'kept');
      assert.equal('googclient_traceparent' in attributes, TRACING);
    }
    if (TRACING) {
      const parents = messages.map(m => m.attributes.googclient_traceparent.split('-')[1]);
      const found = spans.getFinishedSpans().filter(span => span.name === 'traces subscribe');
      assert.deepEqual(found.map(span => span.spanContext().traceId).sort(), parents.sort());
    }
  },
});
