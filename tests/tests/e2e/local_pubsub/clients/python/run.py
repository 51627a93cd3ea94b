

def attempt(run):
    try:
        run()
        return "ok"
    except BaseException as why:  # noqa: BLE001: whatever it is, it is told
        return f"{type(why).__name__}: {why}"


chosen = os.environ.get("ONLY")
runs = [run for run in SCENARIOS if chosen in (None, run.__name__)]
with ThreadPoolExecutor(len(runs)) as pool:
    outcomes = dict(zip([run.__name__ for run in runs], pool.map(attempt, runs)))
print(json.dumps({"client": f"google-cloud-pubsub {version('google-cloud-pubsub')}", "outcomes": outcomes}))
