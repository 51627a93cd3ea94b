// Google's Node client against a Pub/Sub: all scenarios at once; prints which passed, and why the others did not.
// PUBSUB_EMULATOR_HOST and GOOGLE_CLOUD_PROJECT say where, TRACING whether the client traces with OpenTelemetry.
'use strict';

const assert = require('node:assert/strict');
const {setTimeout: sleep} = require('node:timers/promises');
const {promisify} = require('node:util');

// The client sends a keep-alive every 30 s and waits for 15 s for the answer; a test does not.
const KEEP_ALIVE = 4000;
const sooner = schedule => (run, delay, ...rest) =>
  schedule(run, {30000: KEEP_ALIVE, 15000: KEEP_ALIVE / 2}[delay] ?? delay, ...rest);
globalThis.setInterval = sooner(globalThis.setInterval);
globalThis.setTimeout = sooner(globalThis.setTimeout);

const {trace} = require('@opentelemetry/api');
const {BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor} = require('@opentelemetry/sdk-trace-base');
const spans = new InMemorySpanExporter();
trace.setGlobalTracerProvider(new BasicTracerProvider({spanProcessors: [new SimpleSpanProcessor(spans)]}));

const {PubSub} = require('@google-cloud/pubsub');
const {version} = require('@google-cloud/pubsub/package.json');

const PROJECT = process.env.GOOGLE_CLOUD_PROJECT;
const TRACING = process.env.TRACING === '1';
// How long to wait for what should come soon, in milliseconds.
const PATIENCE = 60_000;
// gRPC's codes.
const [INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION] = [3, 5, 6, 9];

const pubsub = new PubSub({projectId: PROJECT, enableOpenTelemetryTracing: TRACING});
// One call of the API below the client's own objects.
const call = (client, method, reqOpts) =>
  promisify(pubsub.request.bind(pubsub))({client: `${client}Client`, method, reqOpts, gaxOpts: {}});

const topicName = id => `projects/${PROJECT}/topics/${id}`;
const subscriptionName = id => `projects/${PROJECT}/subscriptions/${id}`;
const numbers = count => [...Array(count).keys()];
const byNumber = (a, b) => a - b;
const number = message => Number(message.data.toString());

async function refused(code, promise) {
  try {
    await promise;
  } catch (why) {
    assert.equal(why.code, code, `code ${code} expected: ${why}`);
    return why;
  }
  throw new Error(`code ${code} expected, nothing refused`);
}

async function pair(id, options = {}) {
  const [topic] = await pubsub.createTopic(id);
  const [subscription] = await topic.createSubscription(id, options);
  return [topic, subscription];
}

// That many messages by unary pulls, acknowledged.
async function pull(id, count) {
  const subscription = subscriptionName(id);
  const messages = [];
  while (messages.length < count) {
    const {receivedMessages} = await call('Subscriber', 'pull', {subscription, maxMessages: 100});
    messages.push(...receivedMessages.map(received => received.message));
    const ackIds = receivedMessages.map(received => received.ackId);
    if (ackIds.length) await call('Subscriber', 'acknowledge', {subscription, ackIds});
  }
  return messages;
}

async function left(id) {
  const request = {subscription: subscriptionName(id), maxMessages: 100, returnImmediately: true};
  return (await call('Subscriber', 'pull', request)).receivedMessages.length;
}

// Messages of a streaming pull until `handle` has taken so many; `whileOpen` runs meanwhile.
async function stream(id, count, handle, whileOpen = () => {}, options = {}) {
  const subscription = pubsub.subscription(id, options);
  const came = [];
  const taken = new Set();
  const all = new Promise((resolve, reject) => {
    const patience = setTimeout(() => reject(new Error(`${taken.size} of ${count} messages came`)), PATIENCE);
    subscription.on('error', reject);
    subscription.on('message', async message => {
      // A handler waits for the service; the next message of its key may overtake it there.
      came.push(message);
      try {
        if (await handle(message)) taken.add(message);
      } catch (why) {
        reject(why);
      }
      if (taken.size === count) {
        clearTimeout(patience);
        resolve();
      }
    });
  });
  await Promise.all([all, whileOpen()]);
  await subscription.close();
  return came.filter(message => taken.has(message));
}

async function acknowledge(message) {
  await message.ackWithResponse();
  return true;
}

function refuseEveryFifth(seen) {
  return async message => {
    if (number(message) % 5 === 0 && !seen.has(message.id)) {
      seen.add(message.id);
      await message.nackWithResponse();
      return false;
    }
    return acknowledge(message);
  };
}

// Requests of the streams of each subscription.
const streams = new Map();
async function watchStreams() {
  const client = await promisify(pubsub.getClient_.bind(pubsub))({client: 'SubscriberClient'});
  await client.initialize();
  const stub = await client.subscriberStub;
  const open = stub.streamingPull;
  stub.streamingPull = (...options) => {
    const opened = open.apply(stub, options);
    const write = opened.write;
    const requests = [];
    opened.write = (request, ...rest) => {
      const {subscription} = request;
      if (subscription) streams.set(subscription, [...(streams.get(subscription) ?? []), requests]);
      requests.push(request);
      return write.call(opened, request, ...rest);
    };
    return opened;
  };
}

const scenarios = {};
