
// Topics, subscriptions, snapshots and policies.
Object.assign(scenarios, {
  async errors() {
    const [topic] = await pubsub.createTopic('errors');
    await refused(ALREADY_EXISTS, pubsub.createTopic('errors'));
    await refused(NOT_FOUND, pubsub.topic('missing').getMetadata());
    await refused(NOT_FOUND, pubsub.topic('missing').publishMessage({data: Buffer.from('x')}));
    await refused(INVALID_ARGUMENT, pubsub.createTopic(topicName('9')));
    await refused(INVALID_ARGUMENT, call('Publisher', 'publish', {topic: topic.name, messages: [{}]}));
    await refused(NOT_FOUND, pubsub.topic('missing').createSubscription('nowhere'));
    await refused(NOT_FOUND, pubsub.subscription('nowhere').delete());
    await refused(NOT_FOUND, stream('nowhere', 1, acknowledge));
  },

  async error_texts() {
    await pubsub.createTopic('error-texts');
    const again = await refused(ALREADY_EXISTS, pubsub.createTopic('error-texts'));
    assert.match(again.message, /Resource already exists in the project \(resource=error-texts\)/);
    const missing = await refused(NOT_FOUND, pubsub.topic('missing').getMetadata());
    assert.match(missing.message, /Resource not found \(resource=missing\)/);
  },

  async reserved_attributes() {
    const [topic] = await pubsub.createTopic('reserved');
    for (const name of ['googclient_schemaencoding', 'goog-x', 'google']) {
      await refused(INVALID_ARGUMENT, topic.publishMessage({data: Buffer.from('x'), attributes: {[name]: 'JSON'}}));
    }
  },

  async paging() {
    const other = new PubSub({projectId: `${PROJECT}-paging`});
    const topics = await Promise.all(numbers(5).map(n => other.createTopic(`topic-${n}`)));
    await Promise.all(numbers(5).map(n => topics[0][0].createSubscription(`subscription-${n}`)));
    for (const list of [other.getTopics, other.getSubscriptions, topics[0][0].getSubscriptions]) {
      const on = list === topics[0][0].getSubscriptions ? topics[0][0] : other;
      const sizes = [];
      let query = {pageSize: 2, autoPaginate: false};
      while (query) {
        const [page, next] = await list.call(on, query);
        sizes.push(page.length);
        query = next?.pageToken ? {...query, pageToken: next.pageToken} : null;
      }
      assert.deepEqual(sizes, [2, 2, 1]);
      assert.equal((await list.call(on))[0].length, 5);
    }
    await other.close();
  },

  async page_tokens() {
    await refused(INVALID_ARGUMENT, pubsub.getTopics({pageToken: '?', autoPaginate: false}));
  },

  async settings() {
    const [dead] = await pubsub.createTopic('settings-dead');
    const [, subscription] = await pair('settings', {
      ackDeadlineSeconds: 20,
      filter: 'attributes.kind = "ticket"',
      deadLetterPolicy: {deadLetterTopic: dead.name, maxDeliveryAttempts: 7},
      retryPolicy: {minimumBackoff: {seconds: 1}, maximumBackoff: {seconds: 9}},
      expirationPolicy: {},
      enableMessageOrdering: true,
      enableExactlyOnceDelivery: true,
      retainAckedMessages: true,
      messageRetentionDuration: 3600,
      labels: {env: 'dev'},
    });
    const [found] = await subscription.getMetadata();
    assert.equal(found.ackDeadlineSeconds, 20);
    assert.equal(found.filter, 'attributes.kind = "ticket"');
    assert.deepEqual({...found.deadLetterPolicy}, {deadLetterTopic: dead.name, maxDeliveryAttempts: 7});
    assert.equal(Number(found.retryPolicy.minimumBackoff.seconds), 1);
    assert.equal(Number(found.retryPolicy.maximumBackoff.seconds), 9);
    assert(found.enableMessageOrdering && found.enableExactlyOnceDelivery && found.retainAckedMessages);
    assert.equal(Number(found.messageRetentionDuration.seconds), 3600);
    assert.deepEqual({...found.labels}, {env: 'dev'});
  },

  async updates() {
    const [, subscription] = await pair('updates', {ackDeadlineSeconds: 20});
    let [changed] = await subscription.setMetadata({ackDeadlineSeconds: 30});
    assert.deepEqual([changed.ackDeadlineSeconds, changed.retainAckedMessages], [30, false]);
    [changed] = await subscription.setMetadata({retainAckedMessages: true, retryPolicy: {}});
    assert.deepEqual([changed.ackDeadlineSeconds, changed.retainAckedMessages], [30, true]);
    await subscription.modifyPushConfig({pushEndpoint: 'http://127.0.0.1:9/push'});
    const [found] = await subscription.getMetadata();
    assert.equal(found.pushConfig.pushEndpoint, 'http://127.0.0.1:9/push');
    await subscription.modifyPushConfig({});
  },

  async updates_of_labels() {
    const [topic, subscription] = await pair('labels');
    assert.deepEqual({...(await subscription.setMetadata({labels: {a: 'b'}}))[0].labels}, {a: 'b'});
    assert.deepEqual({...(await topic.setMetadata({labels: {c: 'd'}}))[0].labels}, {c: 'd'});
  },

  async updates_within_a_field() {
    const [dead] = await pubsub.createTopic('nested-dead');
    const [, {name}] = await pair('nested', {
      deadLetterPolicy: {deadLetterTopic: dead.name, maxDeliveryAttempts: 7},
      retryPolicy: {minimumBackoff: {seconds: 1}, maximumBackoff: {seconds: 9}},
    });
    const changed = await call('Subscriber', 'updateSubscription', {
      subscription: {name, deadLetterPolicy: {maxDeliveryAttempts: 9}, retryPolicy: {minimumBackoff: {seconds: 2}}},
      updateMask: {paths: ['dead_letter_policy.max_delivery_attempts', 'retry_policy.minimum_backoff']},
    });
    assert.deepEqual({...changed.deadLetterPolicy}, {deadLetterTopic: dead.name, maxDeliveryAttempts: 9});
    const {minimumBackoff, maximumBackoff} = changed.retryPolicy;
    assert.deepEqual([Number(minimumBackoff.seconds), Number(maximumBackoff.seconds)], [2, 9]);
  },

  async updates_refused() {
    const [, {name}] = await pair('immutable');
    for (const [paths, fields] of [
      [['filter'], {filter: 'attributes:a'}],
      [['enable_message_ordering'], {enableMessageOrdering: true}],
      [['no_such_field'], {}],
      [[], {}],
    ]) {
      const request = {subscription: {name, ...fields}, updateMask: {paths}};
      await refused(INVALID_ARGUMENT, call('Subscriber', 'updateSubscription', request));
    }
    const missing = {subscription: {name: `${name}-missing`, ackDeadlineSeconds: 20}};
    const updateMask = {paths: ['ack_deadline_seconds']};
    await refused(NOT_FOUND, call('Subscriber', 'updateSubscription', {...missing, updateMask}));
  },

  async snapshots() {
    const [topic, subscription] = await pair('snapshots');
    await topic.publishMessage({data: Buffer.from('kept')});
    const [snapshot] = await subscription.createSnapshot('snapshot');
    assert.equal(snapshot.metadata.topic, topic.name);
    await refused(ALREADY_EXISTS, subscription.createSnapshot('snapshot'));
    await pull('snapshots', 1);
    await snapshot.seek();
    assert.equal((await pull('snapshots', 1))[0].data.toString(), 'kept');
    const [listed] = await pubsub.getSnapshots();
    assert(listed.some(one => one.name === snapshot.name));
    await snapshot.delete();
    await refused(NOT_FOUND, snapshot.delete());
  },

  async labels_of_snapshots() {
    const [, {name: subscription}] = await pair('snapshot-labels');
    const name = `projects/${PROJECT}/snapshots/labelled`;
    await call('Subscriber', 'createSnapshot', {name, subscription, labels: {a: 'b'}});
    assert.deepEqual({...(await call('Subscriber', 'getSnapshot', {snapshot: name})).labels}, {a: 'b'});
    const update = {snapshot: {name, labels: {c: 'd'}}, updateMask: {paths: ['labels']}};
    assert.deepEqual({...(await call('Subscriber', 'updateSnapshot', update)).labels}, {c: 'd'});
    await call('Subscriber', 'deleteSnapshot', {snapshot: name});
  },

  async policies() {
    const [topic, subscription] = await pair('policies');
    for (const [{iam}, asked] of [
      [topic, 'pubsub.topics.get'],
      [subscription, 'pubsub.subscriptions.consume'],
    ]) {
      const [policy] = await iam.getPolicy();
      assert.deepEqual(policy.bindings, []);
      const bindings = [{role: 'roles/pubsub.viewer', members: ['user:someone@example.com']}];
      await iam.setPolicy({etag: policy.etag, bindings});
      assert.deepEqual((await iam.getPolicy())[0].bindings.map(binding => binding.role), ['roles/pubsub.viewer']);
      assert.deepEqual((await iam.testPermissions([asked]))[0], {[asked]: true});
    }
  },

  async deletions() {
    const [topic, subscription] = await pair('deletions');
    const [kept] = await topic.createSubscription('deletions-kept');
    await subscription.delete();
    await refused(NOT_FOUND, subscription.getMetadata());
    await topic.delete();
    await refused(NOT_FOUND, topic.getMetadata());
    assert.equal((await kept.getMetadata())[0].topic, '_deleted-topic_');
  },

  async detached_subscriptions() {
    const [, subscription] = await pair('detached');
    await pubsub.detachSubscription('detached');
    const pulled = call('Subscriber', 'pull', {subscription: subscription.name, maxMessages: 1});
    await refused(FAILED_PRECONDITION, pulled);
    assert((await subscription.detached())[0]);
  },
});
