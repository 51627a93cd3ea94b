//! The sections of the file, except services.

use std::time::Duration;

use toml::de::DeTable;

use super::bucket::bucket_name;
use super::delivery::{delivery, filter, labels};
use super::environments::Names;
use super::error::Log;
use super::read::{Table, ValueError};
use super::types::{
    Archive, ArchiveFormat, DEFAULT_NAME, Push, PushTarget, ServiceAccount, Subscription, Topic, Topology,
};
use super::values::{DAY_SECONDS, MINUTE_SECONDS, dns_name, duration, pubsub_name};
use super::{service, validate};

/// The key that marks a [runtime declaration](super::Topology::runtime_declaration), and its value.
pub(super) const CONTENTS_KEY: &str = "contents";
pub(super) const RUNTIME_CONTENTS: &str = "runtime";

/// Reads and checks a whole declaration, under its declared names, for a program that has the tasks `program` beside
/// those that are declared. What is wrong goes to `log`.
pub(super) fn read<'t>(
    table: &'t DeTable<'t>,
    text: &'t str,
    names: &Names,
    program: &[&str],
    log: &mut Log,
) -> Topology {
    let mut root = Table::root(table, text);
    let runtime = runtime(&mut root, log);
    let topology = Topology {
        // A runtime declaration leaves it out, whatever it was.
        name: if runtime { DEFAULT_NAME.to_owned() } else { deployment(&mut root, names, log) },
        environment: None,
        environments: Vec::new(),
        runtime,
        archive: archive(&mut root, names, log),
        topics: topics(&mut root, names, log),
        subscriptions: subscriptions(&mut root, names, log),
        services: service::services(&mut root, names, log),
        service_accounts: service_accounts(&mut root, names, log),
    };
    root.get("environments");
    root.finish(log);
    // What a runtime declaration refers to was checked before it was left out; its tasks are those of the program.
    if runtime {
        validate::tasks(&topology, table, program, log);
    } else {
        validate::validate(&topology, table, program, log);
    }
    topology
}

/// Whether the file says that it is a runtime declaration.
fn runtime(root: &mut Table<'_>, log: &mut Log) -> bool {
    // Read without being offered: no user writes this key, so no list of keys names it.
    if !root.has(CONTENTS_KEY) {
        return false;
    }
    let parsed = root.parsed(CONTENTS_KEY, log, |text| match text {
        RUNTIME_CONTENTS => Ok(()),
        _ => Err(ValueError::new(format!("expected `{}`", RUNTIME_CONTENTS))
            .help("leave it out: it marks the copy of a declaration that an archive holds")),
    });
    parsed.is_some()
}

fn deployment(root: &mut Table<'_>, names: &Names, log: &mut Log) -> String {
    let name = root.string("name", log).unwrap_or(DEFAULT_NAME).to_owned();
    let at = root.get("name").map_or(0..0, |name| name.span());
    names.check("the deployment", &name, at, dns_name((1, 63), "a label"), log);
    name
}

fn archive(root: &mut Table<'_>, names: &Names, log: &mut Log) -> Option<Archive> {
    let mut table = root.table("archive", log)?;
    let at = table.get("bucket").map_or(table.at.clone(), |bucket| bucket.span());
    let bucket = table.required("bucket", "declare `bucket = \"{project}-NAME\"`", log).to_owned();
    if !bucket.is_empty() {
        names.check("the bucket", &bucket, at, bucket_name, log);
    }
    let format = table.parsed("format", log, |text| {
        let found = ArchiveFormat::ALL.into_iter().find(|format| format.extension() == text);
        let help = "write \"tar.gz\", which is the default, or \"zip\"";
        found.ok_or_else(|| ValueError::new("not a format of archives").help(help))
    });
    let soft_delete = table.parsed("soft-delete", log, soft_delete);
    table.finish(log);
    Some(Archive { bucket, format: format.unwrap_or_default(), soft_delete })
}

/// <https://cloud.google.com/storage/docs/soft-delete#retention-duration>
fn soft_delete(text: &str) -> Result<Duration, ValueError> {
    let kept = duration((0, 90 * DAY_SECONDS), "Cloud Storage")(text)?;
    if kept.is_zero() || kept.as_secs() >= 7 * DAY_SECONDS {
        return Ok(kept);
    }
    Err(ValueError::new("Cloud Storage keeps deleted objects for 7d to 90d, or not at all")
        .help("write \"7d\", or leave the key out: deleted objects are not kept then"))
}

fn topics(root: &mut Table<'_>, names: &Names, log: &mut Log) -> Vec<Topic> {
    let mut topics = Vec::new();
    for (name, mut table) in root.entries("topics", "topic", log) {
        names.check(&table.what, name, table.at.clone(), pubsub_name, log);
        topics.push(Topic {
            name: name.to_owned(),
            labels: labels(&mut table, "labels", log),
            retention: table.parsed("retention", log, duration((10 * MINUTE_SECONDS, 31 * DAY_SECONDS), "a topic")),
        });
        table.finish(log);
    }
    topics
}

fn service_accounts(root: &mut Table<'_>, names: &Names, log: &mut Log) -> Vec<ServiceAccount> {
    let mut accounts = Vec::new();
    for (name, mut table) in root.entries("service-accounts", "service account", log) {
        names.check(&table.what, name, table.at.clone(), dns_name((6, 30), "a service account"), log);
        let display_name = table.parsed("display-name", log, |text| {
            if text.len() <= 100 {
                return Ok(text.to_owned());
            }
            Err(ValueError::new("a display name has at most 100 bytes"))
        });
        accounts.push(ServiceAccount { name: name.to_owned(), display_name });
        table.finish(log);
    }
    accounts
}

fn subscriptions(root: &mut Table<'_>, names: &Names, log: &mut Log) -> Vec<Subscription> {
    let mut subscriptions = Vec::new();
    for (name, mut table) in root.entries("subscriptions", "subscription", log) {
        names.check(&table.what, name, table.at.clone(), pubsub_name, log);
        let subscription = Subscription {
            name: name.to_owned(),
            topic: table.required("topic", "declare the topic that it reads", log).to_owned(),
            filter: filter(&mut table, log),
            delivery: delivery(&mut table, 7 * DAY_SECONDS, log),
            retain_acked: table.boolean("retain-acked", log),
            ordering: table.boolean("ordering", log),
            exactly_once: table.boolean("exactly-once", log),
            labels: labels(&mut table, "labels", log),
            push: push(&mut table, log),
        };
        if subscription.exactly_once == Some(true) && subscription.push.is_some() {
            let message = format!("{} is push and exactly-once", table.what);
            let label = "Pub/Sub delivers exactly once to pull subscriptions only";
            let help = "remove it: a result is written once for each message in any case".to_owned();
            log.add(table.at_key("exactly-once"), message, label, help);
        }
        table.finish(log);
        subscriptions.push(subscription);
    }
    subscriptions
}

fn push(subscription: &mut Table<'_>, log: &mut Log) -> Option<Push> {
    let mut table = subscription.table("push", log)?;
    let service = table.string("service", log).map(str::to_owned);
    let endpoint = table.parsed("endpoint", log, endpoint);
    if table.has("service") == table.has("endpoint") {
        let message = format!("{} needs one receiver", table.what);
        let label = if service.is_some() { "both `service` and `endpoint`" } else { "none" };
        let help = "write `service = \"NAME\"` for a declared service, or `endpoint = \"https://…\"`";
        log.add(table.at.clone(), message, label, help.to_owned());
    }
    let target = match service {
        Some(service) => PushTarget::Service(service),
        None => PushTarget::Endpoint(endpoint.unwrap_or_default()),
    };
    let push = Push {
        target,
        no_wrapper: table.boolean("no-wrapper", log),
        write_metadata: table.boolean("write-metadata", log),
        service_account: table.string("service-account", log).map(str::to_owned),
        audience: table.string("audience", log).map(str::to_owned),
    };
    if push.write_metadata.is_some() && push.no_wrapper != Some(true) {
        let message = format!("`write-metadata` in {} has no effect", table.what);
        let help = "add `no-wrapper = true`, or remove it".to_owned();
        log.add(table.at_key("write-metadata"), message, "the wrapper holds the metadata", help);
    }
    table.finish(log);
    Some(push)
}

fn endpoint(text: &str) -> Result<String, ValueError> {
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|local| {
        let rest = text.strip_prefix(local);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    });
    let secure = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty());
    if (secure || local) && !text.contains(char::is_whitespace) {
        return Ok(text.to_owned());
    }
    Err(ValueError::new("Pub/Sub pushes to `https://` addresses, and on this machine to `http://localhost`"))
}
