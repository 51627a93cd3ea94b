
async function main() {
  // It takes longer than all the others together, and traces change nothing of it.
  if (TRACING) delete scenarios.leases;
  await watchStreams();
  const outcomes = await Promise.all(
    Object.entries(scenarios).map(async ([name, run]) => {
      try {
        await run();
        return [name, 'ok'];
      } catch (why) {
        return [name, String(why)];
      }
    })
  );
  const report = {client: `@google-cloud/pubsub ${version}`, outcomes: Object.fromEntries(outcomes)};
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit());
}

main();
