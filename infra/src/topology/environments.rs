//! Environments: a changed copy of the declaration for each.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{Log, suggest};
use super::read::{Table, ValueError};
use super::types::{Push, PushTarget, Topology};
use super::values::Destination;
use super::values::dns_name;

/// The sections that an environment may change; in all but the first the entries have names.
const SECTIONS: [&str; 5] = ["archive", "topics", "subscriptions", "services", "service-accounts"];

/// How an environment renames everything.
#[derive(Default)]
pub(super) struct Names {
    /// Empty for the declaration as it stands.
    pub(super) environment: String,
    pub(super) prefix: String,
    pub(super) suffix: String,
}

/// An environment: the sections that change the declaration.
pub(super) struct Environment<'t> {
    pub(super) names: Names,
    pub(super) table: DeTable<'t>,
}

impl Names {
    /// Checks a declared name as it will be in the environment.
    pub(super) fn check(
        &self,
        what: &str,
        name: &str,
        at: Range<usize>,
        rule: impl Fn(&str) -> Result<(), ValueError>,
        log: &mut Log,
    ) {
        let full = self.full(name);
        if let Err(ValueError { label, help, .. }) = rule(&full) {
            let renamed = if full == name {
                String::new()
            } else {
                format!(", and in environment `{}` it is `{full}`", self.environment)
            };
            log.add(at, format!("impossible name of {what}"), format!("{label}{renamed}"), help);
        }
    }

    pub(super) fn full(&self, name: &str) -> String {
        format!("{}{name}{}", self.prefix, self.suffix)
    }

    /// Renames everything, and every reference to it.
    pub(super) fn apply(&self, topology: &mut Topology) {
        let rename = |name: &mut String| *name = self.full(name);
        let account = |name: &mut Option<String>| {
            if let Some(name) = name.as_mut().filter(|name| !name.contains('@')) {
                rename(name);
            }
        };
        let Topology { name, archive, topics, subscriptions, services, service_accounts, .. } = topology;
        let archive_bucket = archive.as_ref().map(|archive| archive.bucket.clone());
        rename(name);
        archive.iter_mut().for_each(|archive| rename(&mut archive.bucket));
        topics.iter_mut().for_each(|topic| rename(&mut topic.name));
        service_accounts.iter_mut().for_each(|account| rename(&mut account.name));
        for subscription in subscriptions {
            rename(&mut subscription.name);
            rename(&mut subscription.topic);
            subscription.delivery.dead_letter.iter_mut().for_each(|to| rename(&mut to.topic));
            if let Some(Push { target, service_account, .. }) = &mut subscription.push {
                account(service_account);
                if let PushTarget::Service(service) = target {
                    rename(service);
                }
            }
        }
        for service in services {
            rename(&mut service.name);
            account(&mut service.service_account);
            service.dead_letter_topic.iter_mut().for_each(rename);
            let ledger = service.ledger.iter_mut().map(|ledger| &mut ledger.bucket);
            ledger.filter(|bucket| Some(&**bucket) == archive_bucket.as_ref()).for_each(rename);
            if let Some(trigger) = &mut service.trigger {
                rename(&mut trigger.topic);
                account(&mut trigger.service_account);
                trigger.delivery.dead_letter.iter_mut().for_each(|to| rename(&mut to.topic));
            }
            for result in &mut service.results {
                match result {
                    Destination::Topic(topic) => rename(topic),
                    // Another bucket exists already, under its own name.
                    Destination::Bucket { bucket, .. } if Some(&*bucket) == archive_bucket.as_ref() => {
                        rename(bucket);
                    }
                    _ => {}
                }
            }
        }
        topology.environment = Some(self.environment.clone());
    }
}

/// Reads the environments of a file, in its order.
pub(super) fn environments<'t>(root: &'t DeTable<'t>, text: &'t str, log: &mut Log) -> Vec<Environment<'t>> {
    let mut reader = Table::root(root, text);
    let mut environments = Vec::new();
    for (name, mut table) in reader.entries("environments", "environment", log) {
        Names::default().check(&table.what, name, table.at.clone(), dns_name((1, 30), "an environment"), log);
        let names = Names {
            environment: name.to_owned(),
            prefix: table.string("prefix", log).unwrap_or_default().to_owned(),
            suffix: table.string("suffix", log).unwrap_or_default().to_owned(),
        };
        let mut merged = root.clone();
        for section in SECTIONS {
            let Some(value) = table.get(section) else {
                continue;
            };
            let Some(changes) = value.get_ref().as_table() else {
                table.mismatch(section, value, "a table", log);
                continue;
            };
            if section == "archive" {
                merge(&mut merged, table.raw(), section);
            } else {
                change(&mut merged, section, changes, &table.what, log);
            }
        }
        table.finish(log);
        environments.push(Environment { names, table: merged });
    }
    environments
}

/// Changes the entries of a section; an environment adds none.
fn change<'t>(merged: &mut DeTable<'t>, section: &str, changes: &DeTable<'t>, what: &str, log: &mut Log) {
    let mut none = DeTable::new();
    let declared = match merged.get_mut(section).map(|value| value.get_mut()) {
        Some(DeValue::Table(declared)) => declared,
        _ => &mut none,
    };
    for key in changes.keys() {
        let name: &str = key.get_ref();
        if declared.contains_key(name) {
            merge(declared, changes, name);
            continue;
        }
        let help = suggest(name, section, declared.keys().map(|name| &**name.get_ref()));
        let message = format!("{what} changes `{name}`, which `{section}` does not declare");
        log.add(key.span(), message, "not declared", help);
    }
}

/// Replaces `to`'s value of `key` by `from`'s: tables key by key, everything else as a whole.
fn merge<'t>(to: &mut DeTable<'t>, from: &DeTable<'t>, key: &str) {
    let Some((name, value)) = from.get_key_value(key) else {
        return;
    };
    if let DeValue::Table(changes) = value.get_ref()
        && let Some(DeValue::Table(table)) = to.get_mut(key).map(|value| value.get_mut())
    {
        changes.keys().for_each(|key| merge(table, changes, key.get_ref()));
        return;
    }
    // Inserting alone would keep the old key, and with it the old position.
    to.remove(key);
    to.insert(name.clone(), value.clone());
}
