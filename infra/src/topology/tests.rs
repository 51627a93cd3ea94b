use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::variants::MAX_BYTES;
use super::*;

/// Declarations with their errors: `#` and a title, the declaration, `---`, the rendered errors. Run the tests with
/// `UPDATE_ERRORS=1` to write what is rendered now, and read the difference.
const ERRORS: &str = include_str!("tests/error_cases.txt");

pub(super) const SHIPPED: &str = include_str!("../../topology.toml");

#[test]
fn errors_read_like_the_compilers() {
    let mut updated = String::new();
    for case in ERRORS.trim_end().split("\n\n\n") {
        let (declaration, expected) = case.split_once("\n---\n").unwrap();
        let rendered = match Topology::parse(declaration, "topology.toml") {
            Ok(_) => "no error".to_owned(),
            Err(errors) => errors.to_string(),
        };
        if std::env::var_os("UPDATE_ERRORS").is_none() {
            assert_eq!(rendered, expected, "\n{declaration}\n\n{rendered}");
        }
        write!(updated, "{declaration}\n---\n{rendered}\n\n\n").unwrap();
    }
    if std::env::var_os("UPDATE_ERRORS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/topology/tests/error_cases.txt");
        std::fs::write(path, updated).unwrap();
    }
}

#[test]
fn the_shipped_declaration_has_the_projects_names() {
    let topology = Topology::shipped().unwrap_or_else(|errors| panic!("{errors}"));
    let names = |names: &mut dyn Iterator<Item = &String>| names.map(String::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&mut topology.topics.iter().map(|topic| &topic.name)),
        "ai-workloads-topic ai-workloads-results ai-workloads-dead-letter"
    );
    assert_eq!(
        names(&mut topology.subscriptions.iter().map(|subscription| &subscription.name)),
        "ai-workloads-subscription ai-workloads-dead-letter-subscription"
    );
    let service = topology.first_service().unwrap();
    assert_eq!(service.name, "ai-workloads-function");
    assert_eq!(topology.service("ai-workloads-function"), Some(service));
    assert_eq!(topology.service("other"), None);
    assert_eq!(service.trigger.as_ref().unwrap().topic, "ai-workloads-topic");
    assert_eq!(service.dead_letter_topic.as_deref(), Some("ai-workloads-dead-letter"));
    let results: Vec<_> = service.results.iter().map(|result| result.setting("p")).collect();
    assert_eq!(results, ["projects/p/topics/ai-workloads-results"]);
    let ledger = service.ledger.as_ref().unwrap();
    assert_eq!((ledger.setting("p").as_str(), ledger.days()), ("gs://p-ai-workloads/ledger/", 14));

    let pull = topology.subscription("ai-workloads-subscription").unwrap();
    assert_eq!(pull.topic, "ai-workloads-topic");
    let dead_letter = pull.delivery.dead_letter.as_ref().unwrap();
    assert_eq!(dead_letter.topic, "ai-workloads-dead-letter");
    let held = topology.subscription("ai-workloads-dead-letter-subscription").unwrap();
    assert_eq!(held.topic, "ai-workloads-dead-letter");
    assert_eq!(topology.archive.as_ref().unwrap().bucket("p"), "p-ai-workloads");
}

#[test]
fn the_shipped_routes_leave_other_messages_alone() {
    let topology = Topology::shipped().unwrap();
    let service = topology.first_service().unwrap();
    let route = |key: &str, value: &str| {
        service.route(&BTreeMap::from([(key.to_owned(), value.to_owned())])).map(str::to_owned)
    };
    assert_eq!(route("kind", "ticket").as_deref(), Some("classify"));
    assert_eq!(route("kind", "search").as_deref(), Some("rerank"));
    assert_eq!(route("task", "classify"), None);
    assert_eq!(service.route(&BTreeMap::new()), None);
    assert_eq!(service.task.as_deref(), Some("embed"));
}

pub(super) const FULL: &str = include_str!("full.toml");

#[test]
fn everything_is_read() {
    let topology = Topology::parse(FULL, "t.toml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(topology.environment, None);
    assert_eq!(topology.environments, ["test"]);
    // In the order of the file, not of the alphabet.
    assert_eq!(topology.first_service().unwrap().name, "second");
    assert_eq!(topology.topic("entry").unwrap().retention, Some(Duration::from_secs(31 * 86_400)));
    assert_eq!(topology.topic("entry").unwrap().labels["team"], "search");

    let high = topology.subscription("entry-high").unwrap();
    assert_eq!(high.delivery.ack_deadline, Some(Duration::from_secs(90)));
    assert_eq!(high.delivery.expiry, Some(Expiry::Never));
    let [min_backoff, max_backoff] = [10, 300].map(Duration::from_secs);
    assert_eq!(high.delivery.retry, Some(Retry { min_backoff, max_backoff }));
    assert_eq!(high.delivery.dead_letter.as_ref().unwrap().max_attempts, 5);
    let push = high.push.as_ref().unwrap();
    assert_eq!(push.target, PushTarget::Service("second".to_owned()));
    assert_eq!((push.no_wrapper, push.write_metadata), (Some(true), Some(true)));
    let held = topology.subscription("dead-held").unwrap();
    assert_eq!((held.ordering, held.exactly_once, held.retain_acked), (Some(true), Some(true), Some(true)));
    assert_eq!(held.delivery.ack_deadline, None);

    let second = topology.service("second").unwrap();
    assert_eq!(second.cpu.unwrap().to_string(), "500m");
    assert_eq!(second.secrets["A"].reference(), "key:latest");
    assert_eq!(second.secrets["B"].reference(), "projects/p/secrets/key:3");
    let results: Vec<_> = second.results.iter().map(|result| result.setting("p")).collect();
    assert_eq!(results, ["projects/p/topics/mid", "gs://p-code/out/", "gs://other/", "stdout"]);

    let ledger = second.ledger.as_ref().unwrap();
    assert_eq!((ledger.setting("p").as_str(), ledger.days()), ("gs://p-code/done/", 32));
    assert_eq!(topology.expiries(), BTreeMap::from([("done/", 32)]));

    let feeds = topology.feeds("second");
    assert_eq!(feeds.len(), 1);
    assert_eq!((feeds[0].topic, feeds[0].filter), ("entry", high.filter.as_ref()));
    let feeds = topology.feeds("first");
    assert_eq!((feeds.len(), feeds[0].topic, feeds[0].subscription), (1, "mid", None));
}

#[test]
fn an_environment_changes_names_and_values() {
    let topology = Topology::parse_environment(FULL, "t.toml", "test").unwrap();
    assert_eq!(topology.environment.as_deref(), Some("test"));
    assert_eq!(topology.archive.as_ref().unwrap().bucket, "t-code-{project}");
    let second = topology.service("t-second").unwrap();
    assert_eq!(second.environment.keys().collect::<Vec<_>>(), ["C", "E"]);
    let results: Vec<_> = second.results.iter().map(|result| result.setting("p")).collect();
    assert_eq!(results, ["projects/p/topics/t-mid", "gs://t-code-p/out/"]);
    assert_eq!(second.ledger.as_ref().unwrap().setting("p"), "gs://t-code-p/done/");
    let high = topology.subscription("t-entry-high").unwrap();
    assert_eq!(high.topic, "t-entry");
    assert_eq!(high.delivery.dead_letter.as_ref().unwrap().topic, "t-dead");
    assert_eq!(high.delivery.retry.unwrap().min_backoff, Duration::from_secs(1));
    let push = high.push.as_ref().unwrap();
    assert_eq!(push.target, PushTarget::Service("t-second".to_owned()));
    assert_eq!(push.service_account.as_deref(), Some("t-caller"));
    let other = topology.subscription("t-entry-other").unwrap();
    let account = other.push.as_ref().unwrap().service_account.as_deref();
    assert_eq!(account, Some("x@y.iam.gserviceaccount.com"));
    let trigger = topology.service("t-first").unwrap().trigger.as_ref().unwrap();
    assert_eq!((&*trigger.topic, trigger.service_account.as_deref()), ("t-mid", Some("t-caller")));
    assert_eq!(topology.service_accounts[0].name, "t-caller");

    let errors = Topology::parse_environment(FULL, "t.toml", "tset").unwrap_err();
    let error = errors.iter().next().unwrap();
    assert_eq!(error.message, "there is no environment `tset`");
    assert_eq!(error.help.as_deref(), Some("did you mean `test`?"));
}

#[test]
fn a_task_s_name_is_one_that_there_is() {
    let refused = |declaration: &str, tasks: &[&str]| {
        let text = format!("[topics.work]\n[services.s]\n{declaration}\n");
        Topology::parse_for(&text, "t.toml", None, tasks).err().map(|errors| {
            let errors: Vec<_> = errors.iter().cloned().collect();
            assert_eq!(errors.len(), 1, "{declaration}: {errors:?}");
            (errors[0].line, errors[0].help.clone().unwrap_or_default())
        })
    };
    let route = |task: &str| format!("[[services.s.routes]]\nfilter = 'attributes:{task}'\ntask = {task:?}");
    for (declaration, line, help) in [
        ("task = \"embd\"".to_owned(), 3, "did you mean `embed`?"),
        ("task = \"Embed\"".to_owned(), 3, "did you mean `embed`?"),
        ("task = \"translate\"".to_owned(), 3, "tasks = [\"translate\"]"),
        (route("clasify"), 5, "did you mean `classify`?"),
        (route("embed") + "\n" + &route("re-rank"), 8, "did you mean `rerank`?"),
        ("tasks = [\"redact\"]\ntask = \"redcat\"".to_owned(), 4, "did you mean `redact`?"),
        ("[environments.test.services.s]\ntask = \"embd\"".to_owned(), 4, "did you mean `embed`?"),
    ] {
        let (found, said) = refused(&declaration, &[]).unwrap_or_else(|| panic!("taken: {declaration}"));
        assert_eq!(found, line, "{declaration}");
        assert!(said.contains(help), "{declaration}: {said}");
    }
    for task in TASKS {
        assert_eq!(refused(&format!("task = \"{task}\"\n{}", route(task)), &[]), None);
    }
    let own = format!("task = \"redact\"\n{}", route("redact"));
    assert_eq!(refused(&format!("tasks = [\"redact\"]\n{own}"), &[]), None);
    assert_eq!(refused(&own, &["redact"]), None);
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_declaration() {
    for text in [SHIPPED, &SHIPPED.replace('\n', "\r\n")] {
        assert_eq!(Topology::parse(&format!("\u{feff}{text}"), "t.toml"), Topology::shipped());
    }
    let errors = Topology::parse("\u{feff}[topics.work]\nx = 1\n", "t.toml").unwrap_err();
    assert_eq!(errors.iter().next().map(|error| (error.line, error.column)), Some((2, 1)));
}

#[test]
fn a_declaration_has_a_largest_size() {
    let errors = Topology::parse(&"#".repeat(MAX_BYTES + 1), "t.toml").unwrap_err();
    assert_eq!(errors.iter().next().unwrap().message, "the topology is too long");
}

proptest! {
    #[test]
    fn a_mutated_declaration_ends_without_a_panic(
        cut in 0..SHIPPED.len(), length in 0_usize..40, insert in "[\\PC\n\"=.]{0,6}",
    ) {
        let start = SHIPPED.floor_char_boundary(cut);
        let end = SHIPPED.floor_char_boundary((start + length).min(SHIPPED.len())).max(start);
        let text = format!("{}{insert}{}", &SHIPPED[..start], &SHIPPED[end..]);
        if let Err(errors) = Topology::parse(&text, "t.toml") {
            prop_assert!(!errors.to_string().is_empty());
        }
    }
}
