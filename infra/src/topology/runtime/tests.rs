use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;

use super::super::tests::{FULL, SHIPPED};
use super::super::{DEFAULT, Topology};
use super::*;

/// Every key that a declaration can have.
const EVERY_KEY: &str = r#"
name = "mine"
[archive]
bucket = "{project}-code"
format = "tar.gz"
soft-delete = "7d"
[topics.work]
labels = { team = "search" }
retention = "7d"
[topics.done]
[topics.dead]
[topics.spare]
[subscriptions.pulled]
topic = "work"
filter = 'attributes.a = "b"'
ack-deadline = "60s"
retention = "2d"
expiry = "never"
retry = { min-backoff = "10s", max-backoff = "500s" }
dead-letter = { topic = "dead", max-attempts = 9 }
retain-acked = true
ordering = true
exactly-once = true
labels = { kind = "pull" }
[subscriptions.pushed]
topic = "spare"
ack-deadline = "50s"
push = { service = "zeta", no-wrapper = true, write-metadata = true, service-account = "caller", audience = "them" }
[subscriptions.outside]
topic = "spare"
push = { endpoint = "https://example.com/" }
[subscriptions.held]
topic = "dead"
[services.zeta]
service-account = "runtime"
startup-cpu-boost = false
cpu = 2
memory = "1Gi"
concurrency = 9
timeout = "50s"
min-instances = 1
max-instances = 8
results = ["topic:done", "gs://{project}-code/out/"]
ledger = "gs://{project}-code/ledger/"
ledger-retention = "20d"
dead-letter-topic = "dead"
task = "embed"
tasks = ["redact"]
labels = ["one", "two"]
hop-limit = 5
environment = { SIZE = "5", PULL_SUBSCRIPTION = "pulled" }
secrets = { KEY = "key:1" }
resource-labels = { owner = "me" }
trigger = { topic = "work", service-account = "caller", ack-deadline = "55s", retention = "3d" }
routes = [{ filter = 'attributes.kind = "ticket"', task = "classify" }, { filter = 'attributes:x', task = "rerank" }]
[services.beta]
timeout = "40s"
[services.alpha]
timeout = "30s"
[service-accounts.runtime]
display-name = "It"
[service-accounts.caller]
[environments.staging]
prefix = "s-"
suffix = "-t"
archive.bucket = "{project}-other"
services.zeta.ledger = "gs://{project}-other/ledger/"
services.zeta.results = ["topic:done", "gs://{project}-other/out/"]
services.zeta.labels = ["three"]
services.zeta.max-instances = 3
services.beta.task = "rerank"
topics.work.retention = "6d"
subscriptions.pulled.ack-deadline = "61s"
[environments.other]
"#;

/// Changes that the function reads nothing of.
const NOT_READ: [(&str, &str); 49] = [
    ("startup-cpu-boost = false", "startup-cpu-boost = true"),
    (r#"soft-delete = "7d""#, r#"soft-delete = "8d""#),
    (r#"push = { service = "zeta""#, r#"push = { service = "beta""#),
    ("[archive]", "# A comment\n\n[archive]"),
    (r#"name = "mine""#, r#"name = "yours""#),
    (r#"format = "tar.gz""#, r#"format = "zip""#),
    (r#"labels = { team = "search" }"#, r#"labels = { team = "other" }"#),
    ("retention = \"7d\"", "retention = \"8d\""),
    ("[topics.spare]", "[topics.spare]\n[topics.more]"),
    (r#"filter = 'attributes.a = "b"'"#, r#"filter = 'attributes.a = "c"'"#),
    (r#"ack-deadline = "60s""#, r#"ack-deadline = "61s""#),
    (r#"retention = "2d""#, r#"retention = "4d""#),
    (r#"expiry = "never""#, r#"expiry = "30d""#),
    (r#"retry = { min-backoff = "10s""#, r#"retry = { min-backoff = "11s""#),
    (r#"max-backoff = "500s""#, r#"max-backoff = "400s""#),
    (r#"dead-letter = { topic = "dead", max-attempts = 9 }"#, r#"dead-letter = { topic = "dead", max-attempts = 8 }"#),
    ("retain-acked = true", "retain-acked = false"),
    ("ordering = true", "ordering = false"),
    ("exactly-once = true", "exactly-once = false"),
    (r#"kind = "pull""#, r#"kind = "other""#),
    (r#"topic = "spare""#, r#"topic = "work""#),
    (r#"ack-deadline = "50s""#, r#"ack-deadline = "51s""#),
    ("no-wrapper = true, write-metadata = true", "no-wrapper = true, write-metadata = false"),
    ("no-wrapper = true, write-metadata = true, ", ""),
    (r#"service-account = "caller", audience"#, r#"service-account = "runtime", audience"#),
    (r#"audience = "them""#, r#"audience = "us""#),
    (r#"push = { endpoint = "https://example.com/" }"#, r#"push = { endpoint = "https://example.com/2" }"#),
    ("[subscriptions.held]", "[subscriptions.new]\ntopic = \"work\"\n[subscriptions.held]"),
    (r#"service-account = "runtime""#, r#"service-account = "caller""#),
    ("cpu = 2", "cpu = 1"),
    (r#"memory = "1Gi""#, r#"memory = "2Gi""#),
    ("concurrency = 9", "concurrency = 10"),
    ("min-instances = 1", "min-instances = 2"),
    ("max-instances = 8", "max-instances = 9"),
    (r#"ledger-retention = "20d""#, r#"ledger-retention = "21d""#),
    (r#"environment = { SIZE = "5""#, r#"environment = { SIZE = "6""#),
    (r#"secrets = { KEY = "key:1""#, r#"secrets = { KEY = "key:2""#),
    (r#"resource-labels = { owner = "me""#, r#"resource-labels = { owner = "you""#),
    (r#"trigger = { topic = "work""#, r#"trigger = { topic = "done", retry = {}"#),
    (r#"ack-deadline = "55s", "#, r#"ack-deadline = "56s", "#),
    (r#"retention = "3d" }"#, r#"expiry = "never" }"#),
    (r#"display-name = "It""#, r#"display-name = "That""#),
    ("[service-accounts.caller]", "[service-accounts.caller]\n[service-accounts.another]"),
    ("zeta.max-instances = 3", "zeta.max-instances = 4"),
    ("topics.work.retention = \"6d\"", "topics.work.retention = \"5d\""),
    ("pulled.ack-deadline = \"61s\"", "pulled.retry.min-backoff = \"3s\""),
    // The order of tables and keys, and how a value is written.
    (r#"timeout = "50s""#, r#"timeout="0m50s""#),
    (r#"'attributes.kind = "ticket"'"#, r#"'attributes.kind="ticket"'"#),
    (
        "[services.beta]\ntimeout = \"40s\"\n[services.alpha]\ntimeout = \"30s\"\n",
        "[services.alpha]\ntimeout = \"30s\"\n[services.beta]\ntimeout = \"40s\"\n",
    ),
];

/// Changes that the function reads.
const READ: [(&str, &str); 26] = [
    ("tasks = [\"redact\"]\n", "tasks = [\"mask\"]\n"),
    (r#"timeout = "50s""#, r#"timeout = "49s""#),
    (r#"timeout = "40s""#, r#"timeout = "41s""#),
    (r#"results = ["topic:done", "gs://{project}-code"#, r#"results = ["stdout", "gs://{project}-code"#),
    ("-code/out/", "-code/out/of/"),
    (r#"ledger = "gs://{project}-code/ledger/""#, r#"ledger = "gs://{project}-code/ledger2/""#),
    ("dead-letter-topic = \"dead\"\n", ""),
    (r#"task = "embed""#, r#"task = "rerank""#),
    (r#"labels = ["one", "two"]"#, r#"labels = ["two", "one"]"#),
    (r#"["one", "two"]"#, r#"["one"]"#),
    ("hop-limit = 5", "hop-limit = 6"),
    (r#"kind = "ticket"'"#, r#"kind = "tickets"'"#),
    (r#"task = "classify""#, r#"task = "embed""#),
    (r#"routes = [{ filter = 'attributes.kind = "ticket"', task = "classify" }, "#, "routes = ["),
    ("[services.alpha]", "[services.gamma]"),
    // The first service is the one that a process is.
    ("[services.zeta]\n", "[services.first]\n[services.zeta]\n"),
    (r#"PULL_SUBSCRIPTION = "pulled""#, r#"PULL_SUBSCRIPTION = "projects/p/subscriptions/held""#),
    (
        r#"[subscriptions.pulled]
topic = "work""#,
        r#"[subscriptions.pulled]
topic = "done""#,
    ),
    // Only an archive's bucket is renamed with an environment.
    (
        "bucket = \"{project}-other\"\nservices.zeta.ledger = \"gs://{project}-other/ledger/\"",
        "bucket = \"{project}-third\"\nservices.zeta.ledger = \"gs://{project}-third/ledger/\"",
    ),
    ("[environments.other]", "[environments.another]"),
    (r#"prefix = "s-""#, r#"prefix = "u-""#),
    (r#"suffix = "-t""#, ""),
    (r#"["three"]"#, r#"["four"]"#),
    (r#"["three"]"#, "[]"),
    ("-other/out/", "-another/out/"),
    (r#"beta.task = "rerank""#, r#"beta.hop-limit = 2"#),
];

fn runtime(text: &str) -> String {
    Topology::runtime_declaration(text, "t.toml").unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

fn edited(from: &str, to: &str) -> String {
    assert!(EVERY_KEY.contains(from), "{from} is not in the declaration");
    EVERY_KEY.replacen(from, to, 1)
}

/// The function reads the same of both.
fn assert_alike(text: &str, runtime: &str) {
    let environments = Topology::parse(text, "t.toml").unwrap().environments;
    let environments = environments.iter().map(|name| Some(name.as_str()));
    for environment in environments.chain([None]) {
        let [whole, part] = [text, runtime].map(|text| match environment {
            None => Topology::parse(text, "t.toml"),
            Some(environment) => Topology::parse_environment(text, "t.toml", environment),
        });
        let (whole, part) = (whole.unwrap(), part.unwrap_or_else(|errors| panic!("{runtime}\n{errors}")));
        assert_eq!((whole.runtime, part.runtime), (false, true));
        assert_eq!(part.environment, whole.environment);
        assert_eq!(part.services.len(), whole.services.len());
        let first = |topology: &Topology| topology.first_service().map(|service| service.name.clone());
        assert_eq!(first(&part), first(&whole));
        for service in &whole.services {
            assert_eq!(part.service(&service.name), Some(&service.runtime()), "{environment:?}\n{runtime}");
            let pulled = service.environment.get("PULL_SUBSCRIPTION");
            if let Some(name) = pulled.and_then(|name| whole.subscription(name)) {
                assert_eq!(part.subscription(&name.name).unwrap().topic, name.topic);
            }
        }
    }
}

#[test]
fn what_the_function_reads_is_the_same_in_every_environment() {
    let pulling = EVERY_KEY.replace(
        "services.beta.task",
        "services.zeta.environment.PULL_SUBSCRIPTION = \"s-pulled-t\"\nservices.beta.task",
    );
    for text in [SHIPPED, FULL, EVERY_KEY, &pulling, ""] {
        let once = runtime(text);
        assert_alike(text, &once);
        assert_eq!(runtime(&once), once, "again");
    }
    for (from, to) in READ {
        let text = edited(from, to);
        assert_alike(&text, &runtime(&text));
    }
}

#[test]
fn what_the_function_does_not_read_does_not_change_the_text() {
    let before = runtime(EVERY_KEY);
    for (from, to) in NOT_READ {
        assert_eq!(runtime(&edited(from, to)), before, "{from} → {to}");
    }
}

#[test]
fn what_the_function_reads_changes_the_text() {
    let mut all = BTreeSet::from([runtime(EVERY_KEY)]);
    for (from, to) in READ {
        assert!(all.insert(runtime(&edited(from, to))), "{from} → {to}");
    }
}

/// The declaration leaves out no key that there is, and the two lists none of the declaration.
#[test]
fn every_key_is_changed() {
    const SERVICE: &str =
        "[topics.work]\n[services.one]\nzzzzzz = 1\ntrigger = { zzzzzz = 1 }\nroutes = [{ zzzzzz = 1 }]\n";
    const SUBSCRIPTION: &str = "[topics.work]\n[subscriptions.pull]\nzzzzzz = 1\nretry = { zzzzzz = 1 }\n\
        dead-letter = { zzzzzz = 1 }\npush = { zzzzzz = 1 }\n";
    const OTHERS: &str = "zzzzzz = 1\n[archive]\nzzzzzz = 1\n[topics.work]\nzzzzzz = 1\n[service-accounts.runtime]\nzzzzzz = 1\n\
        [environments.one]\nzzzzzz = 1\n";
    let changed: String = NOT_READ.iter().chain(&READ).map(|(from, _)| format!("{from}\n")).collect();
    for text in [SERVICE, SUBSCRIPTION, OTHERS] {
        let errors = Topology::parse(text, "t.toml").unwrap_err();
        // An unknown key is answered with those that there are.
        let keys = errors.iter().filter_map(|error| error.help.as_deref()?.strip_prefix("keys: "));
        let keys: Vec<&str> = keys.flat_map(|keys| keys.split(", ")).map(|key| key.trim_matches('`')).collect();
        assert!(keys.len() > 10, "{errors}");
        for key in keys {
            let written = [format!("{key} ="), format!("{key}."), format!("[{key}")];
            let in_one = |text: &str| written.iter().any(|written| text.contains(written));
            assert!(in_one(EVERY_KEY), "`{key}` is not in the declaration");
            assert!(in_one(&changed), "`{key}` is never changed");
        }
    }
}

/// What a binary without a topology runs by. `UPDATE_DEFAULT=1` writes it.
#[test]
fn the_default_is_what_the_function_reads_of_the_shipped_declaration() {
    let expected = runtime(SHIPPED);
    if std::env::var_os("UPDATE_DEFAULT").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/topology/default.toml"), expected).unwrap();
    } else {
        let help = "write it with: UPDATE_DEFAULT=1 cargo test -p infra";
        assert!(DEFAULT == expected, "infra/src/topology/default.toml is not that of infra/topology.toml; {help}");
    }
}

#[test]
fn the_text_says_what_it_is_and_what_it_refers_to_need_not_be_there() {
    let text =
        "contents = \"runtime\"\n[services.one]\ndead-letter-topic = \"elsewhere\"\nresults = [\"topic:away\"]\n";
    assert!(Topology::parse(text, "t.toml").unwrap().runtime);
    let error = Topology::parse("contents = \"all\"\n", "t.toml").unwrap_err().to_string();
    assert!(error.contains("expected `runtime`") && error.contains("leave it out"), "{error}");
}

proptest! {
    /// Any texts that a declaration can hold.
    #[test]
    fn texts_survive(label in "\\PC{1,20}", value in "\\PC{0,20}", task in "[a-z][a-z0-9-]{0,8}", seconds in 1..3600_u32) {
        prop_assume!(!label.trim().is_empty());
        let filter = filter_on(&value);
        let table = Table::from_iter([(
            "services".to_owned(),
            Table::from_iter([(
                "one".to_owned(),
                Table::from_iter([
                    ("labels".to_owned(), vec![label].into()),
                    ("task".to_owned(), task.as_str().into()),
                    ("tasks".to_owned(), vec![task.clone()].into()),
                    ("timeout".to_owned(), format!("{seconds}s").into()),
                    ("routes".to_owned(), Value::Array(vec![Table::from_iter([
                        ("filter".to_owned(), filter.into()), ("task".to_owned(), task.as_str().into()),
                    ]).into()])),
                ]).into(),
            )]).into(),
        )]);
        let text = table.to_string();
        prop_assume!(Topology::parse(&text, "t.toml").is_ok());
        assert_alike(&text, &runtime(&text));
    }
}

/// A filter on this value.
fn filter_on(value: &str) -> String {
    format!("attributes.key = \"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}
