//! The part of a declaration that the function reads, and its canonical text.
//!
//! The archive holds this text instead of the file that people edit: a deadline, a grant, a scaling or a comment that
//! changes there leaves the archive's bytes, and with them the deployed revision, as they are.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::environments::Names;
use super::sections::{CONTENTS_KEY, RUNTIME_CONTENTS};
use super::service::LEDGER_RETENTION;
use super::types::{Ledger, Route, Service, Topology};
use super::values::Destination;
use super::values::human;
use super::variants::Variants;

/// The variable of a service's environment that names the subscription it pulls from.
const PULL_SUBSCRIPTION: &str = "PULL_SUBSCRIPTION";

const ABOUT: &str =
    "# What the function reads of a declaration, made by `cargo xtask build`. Change the declaration instead.\n";

impl Service {
    /// The settings that the function reads. The others belong to what delivers its messages and to what runs it.
    pub fn runtime(&self) -> Self {
        // No `..`: a new setting belongs to one of the two.
        let Self {
            name,
            routes,
            task,
            tasks,
            labels,
            results,
            ledger,
            dead_letter_topic,
            hop_limit,
            timeout,
            trigger: _,
            service_account: _,
            cpu: _,
            memory: _,
            concurrency: _,
            min_instances: _,
            max_instances: _,
            environment: _,
            secrets: _,
            resource_labels: _,
            startup_cpu_boost: _,
        } = self;
        Self {
            name: name.clone(),
            routes: routes.clone(),
            task: task.clone(),
            tasks: tasks.clone(),
            labels: labels.clone(),
            results: results.clone(),
            // How long its entries are kept is a rule of the bucket.
            ledger: ledger.as_ref().map(|ledger| Ledger { retention: LEDGER_RETENTION, ..ledger.clone() }),
            dead_letter_topic: dead_letter_topic.clone(),
            hop_limit: *hop_limit,
            timeout: *timeout,
            ..Self::default()
        }
    }
}

/// The declaration's canonical text: only what the function reads, tables and keys in the order of their names. Only
/// the first service stays first, since a process is that one unless another is named.
pub(super) fn render(variants: &Variants) -> String {
    let pulled = pulled(variants);
    let plain = sections(&variants.plain, variants, &pulled);
    let mut services: Vec<&Service> = variants.plain.services.iter().collect();
    if let Some((_, others)) = services.split_first_mut() {
        others.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let mut text = format!("{ABOUT}{CONTENTS_KEY} = \"{RUNTIME_CONTENTS}\"\n");
    for service in services {
        write(&mut text, "services", Table::from_iter([(service.name.clone(), keys(service).into())]));
    }
    for section in ["archive", "subscriptions"] {
        if let Some(Value::Table(table)) = plain.get(section) {
            write(&mut text, section, table.clone());
        }
    }
    let mut environments = Table::new();
    for (names, topology) in &variants.environments {
        let mut changes = changes(&plain, &sections(topology, variants, &pulled));
        for (key, affix) in [("prefix", &names.prefix), ("suffix", &names.suffix)] {
            if !affix.is_empty() {
                changes.insert(key.to_owned(), affix.as_str().into());
            }
        }
        environments.insert(names.environment.clone(), changes.into());
    }
    for (name, changes) in environments {
        write(&mut text, "environments", Table::from_iter([(name, changes)]));
    }
    text
}

/// Adds one section to a text.
fn write(text: &mut String, section: &str, table: Table) {
    text.push('\n');
    text.push_str(&Table::from_iter([(section.to_owned(), table.into())]).to_string());
}

/// What is written of one variant, by section.
fn sections(topology: &Topology, variants: &Variants, pulled: &BTreeSet<&str>) -> Table {
    let services = topology.services.iter().map(|service| (service.name.clone(), keys(service).into()));
    let subscriptions = topology.subscriptions.iter().filter(|subscription| pulled.contains(&*subscription.name));
    let subscriptions = subscriptions.map(|subscription| {
        let keys = Table::from_iter([("topic".to_owned(), subscription.topic.as_str().into())]);
        (subscription.name.clone(), keys.into())
    });
    let mut sections = Table::from_iter([("services".to_owned(), Value::Table(services.collect()))]);
    let subscriptions: Table = subscriptions.collect();
    if !subscriptions.is_empty() {
        sections.insert("subscriptions".to_owned(), subscriptions.into());
    }
    let archive = topology.archive.as_ref().filter(|_| renames_buckets(variants));
    if let Some(archive) = archive {
        let keys = Table::from_iter([("bucket".to_owned(), archive.bucket.as_str().into())]);
        sections.insert("archive".to_owned(), keys.into());
    }
    sections
}

/// The keys of a service that [`Service::runtime`] keeps.
fn keys(service: &Service) -> Table {
    let service = service.runtime();
    let strings = |list: Vec<String>| (!list.is_empty()).then(|| Value::from(list));
    let route = |Route { filter, task }: &Route| {
        Value::Table(Table::from_iter([
            ("filter".to_owned(), filter.to_string().into()),
            ("task".to_owned(), task.as_str().into()),
        ]))
    };
    let routes: Vec<Value> = service.routes.iter().map(route).collect();
    let results = service.results.iter().map(|result| match result {
        Destination::Response => "response".to_owned(),
        Destination::Stdout => "stdout".to_owned(),
        Destination::Topic(topic) => format!("topic:{topic}"),
        Destination::Bucket { bucket, prefix } => format!("gs://{bucket}/{prefix}"),
    });
    let ledger = service.ledger.map(|ledger| format!("gs://{}/{}", ledger.bucket, ledger.prefix));
    let keys = [
        ("routes", (!routes.is_empty()).then_some(Value::Array(routes))),
        ("task", service.task.map(Value::from)),
        ("tasks", strings(service.tasks)),
        ("labels", strings(service.labels)),
        ("results", strings(results.collect())),
        ("ledger", ledger.map(Value::from)),
        ("dead-letter-topic", service.dead_letter_topic.map(Value::from)),
        ("hop-limit", service.hop_limit.map(Value::from)),
        ("timeout", service.timeout.map(|timeout| human(timeout.as_secs()).into())),
    ];
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// What an environment has to say so that `from` becomes `to`: an environment adds and replaces, and empties lists.
fn changes(from: &Table, to: &Table) -> Table {
    let mut changes = Table::new();
    for (key, value) in to {
        let changed = match (from.get(key), value) {
            (Some(Value::Table(from)), Value::Table(to)) => {
                Some(self::changes(from, to)).filter(|changes| !changes.is_empty()).map(Value::Table)
            }
            (Some(same), value) if same == value => None,
            _ => Some(value.clone()),
        };
        changes.extend(changed.map(|changed| (key.clone(), changed)));
    }
    let emptied = from.keys().filter(|key| !to.contains_key(*key));
    changes.extend(emptied.map(|key| (key.clone(), Value::Array(Vec::new()))));
    changes
}

/// Whether an environment renames a bucket that a service writes to: then it is the archive's.
fn renames_buckets(variants: &Variants) -> bool {
    variants.environments.iter().any(|(Names { prefix, suffix, .. }, topology)| {
        let named = |bucket: &str| topology.archive.as_ref().is_some_and(|archive| archive.bucket == bucket);
        let writes = |service: &Service| {
            let result = |result: &Destination| matches!(result, Destination::Bucket { bucket, .. } if named(bucket));
            service.results.iter().any(result) || service.ledger.as_ref().is_some_and(|ledger| named(&ledger.bucket))
        };
        !(prefix.is_empty() && suffix.is_empty()) && topology.services.iter().any(writes)
    })
}

/// The subscriptions that services pull from, by the names that the file writes.
fn pulled(variants: &Variants) -> BTreeSet<&str> {
    let unnamed = Names::default();
    let environments = variants.environments.iter().map(|(names, topology)| (names, topology));
    let all = environments.chain([(&unnamed, &variants.plain)]);
    all.flat_map(|(names, topology)| {
        let named = topology.services.iter().filter_map(|service| service.environment.get(PULL_SUBSCRIPTION));
        let named: Vec<&str> = named.map(|name| name.rsplit('/').next().unwrap_or_default()).collect();
        let subscriptions = topology.subscriptions.iter().map(|subscription| subscription.name.as_str());
        // A runtime declaration names no others, and contains no service's environment.
        subscriptions.filter(move |name| topology.runtime || named.contains(&&*names.full(name)))
    })
    .collect()
}
