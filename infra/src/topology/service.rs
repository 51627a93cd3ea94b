//! The `services` section.

use std::time::Duration;

use super::delivery::{delivery, filter, labels};
use super::environments::Names;
use super::error::Log;
use super::read::{Table, ValueError};
use super::types::{Ledger, Route, Service, Trigger};
use super::values::{self, Cpu, Memory, Secret};
use super::values::{DAY_SECONDS, cpu, destination, dns_name, duration, memory, secret, task_name};

/// How long the subscription of an Eventarc trigger keeps messages by default, in seconds.
pub(super) const EVENTARC_RETENTION_SECONDS: u64 = DAY_SECONDS;

/// How long entries of a ledger are kept by default.
pub(super) const LEDGER_RETENTION: Duration = Duration::from_secs(14 * DAY_SECONDS);

pub(super) fn services(root: &mut Table<'_>, names: &Names, log: &mut Log) -> Vec<Service> {
    let mut services = Vec::new();
    for (name, mut table) in root.entries("services", "service", log) {
        names.check(&table.what, name, table.at.clone(), dns_name((1, 49), "Cloud Run"), log);
        services.push(service(name, &mut table, log));
        table.finish(log);
    }
    services
}

fn service(name: &str, table: &mut Table<'_>, log: &mut Log) -> Service {
    let owned = |text: &str| text.to_owned();
    let service = Service {
        name: name.to_owned(),
        trigger: trigger(table, log),
        routes: routes(table, log),
        task: table.parsed("task", log, task_name),
        tasks: table.list("tasks", log, task_name),
        labels: choices(table, log),
        results: table.list("results", log, destination),
        ledger: ledger(table, log),
        dead_letter_topic: table.string("dead-letter-topic", log).map(owned),
        hop_limit: table.number("hop-limit", (1, 100), "a hop limit", log),
        service_account: table.string("service-account", log).map(owned),
        cpu: processors(table, log),
        memory: table.parsed("memory", log, memory),
        concurrency: table.number("concurrency", (1, 1000), "Cloud Run", log),
        startup_cpu_boost: table.boolean("startup-cpu-boost", log),
        timeout: timeout(table, log),
        min_instances: table.number("min-instances", (0, 1000), "Cloud Run", log),
        max_instances: table.number("max-instances", (1, 1000), "Cloud Run", log),
        environment: table.pairs("environment", log, |name, value| {
            variable(name).map(|()| owned(value)).map_err(|wrong| (false, wrong))
        }),
        secrets: table.pairs("secrets", log, |name, value| {
            variable(name).map_err(|wrong| (false, wrong))?;
            secret(value).map_err(|wrong| (true, wrong))
        }),
        resource_labels: labels(table, "resource-labels", log),
    };
    if let Some(twice) = service.environment.keys().find(|name| service.secrets.contains_key(*name)) {
        let message = format!("`{twice}` is set twice in {}", table.what);
        let label = "also in `environment`";
        log.add(table.at_key("secrets"), message, label, "remove one of them".to_owned());
    }
    if let (Some(low), Some(high)) = (service.min_instances, service.max_instances)
        && low > high
    {
        let message = format!("{} keeps more instances than it may have", table.what);
        let help = "`min-instances` is at most `max-instances`".to_owned();
        log.add(table.at_key("min-instances"), message, format!("{low} of at most {high}"), help);
    }
    resources(&service, table, log);
    service
}

fn trigger(service: &mut Table<'_>, log: &mut Log) -> Option<Trigger> {
    let mut table = service.table("trigger", log)?;
    let trigger = Trigger {
        topic: table.required("topic", "declare the topic that triggers it", log).to_owned(),
        service_account: table.string("service-account", log).map(str::to_owned),
        delivery: delivery(&mut table, EVENTARC_RETENTION_SECONDS, log),
    };
    if table.has("filter") {
        table.get("filter");
        let message = format!("{} has a filter", table.what);
        let label = "Eventarc cannot filter on attributes";
        let help = "declare a subscription with this filter and `push = { service = \"…\" }` instead";
        log.add(table.at_key("filter"), message, label, help.to_owned());
    }
    table.finish(log);
    Some(trigger)
}

fn ledger(table: &mut Table<'_>, log: &mut Log) -> Option<Ledger> {
    let location = table.parsed("ledger", log, values::ledger);
    let retention = table.parsed("ledger-retention", log, |text| {
        let retention = duration((DAY_SECONDS, 3650 * DAY_SECONDS), "a ledger")(text)?;
        if retention.as_secs() % DAY_SECONDS == 0 {
            return Ok(retention);
        }
        Err(ValueError::new("Cloud Storage deletes after whole days").help("write a number of days, such as \"14d\""))
    });
    if table.has("ledger-retention") && !table.has("ledger") {
        let message = format!("`ledger-retention` in {} has no effect", table.what);
        let help = "add `ledger = \"gs://BUCKET/PREFIX/\"`, or remove it".to_owned();
        log.add(table.at_key("ledger-retention"), message, "there is no ledger", help);
    }
    let (bucket, prefix) = location?;
    Some(Ledger { bucket, prefix, retention: retention.unwrap_or(LEDGER_RETENTION) })
}

/// All routes, or none if one is refused, so that an index means the same here and in the file.
fn routes(service: &mut Table<'_>, log: &mut Log) -> Vec<Route> {
    let mut routes = Vec::new();
    for mut table in service.tables("routes", "route", log) {
        table.required("filter", "add which messages it takes", log);
        table.required("task", "add the task that takes them", log);
        let filter = filter(&mut table, log);
        let task = table.parsed("task", log, task_name);
        table.finish(log);
        routes.push(filter.zip(task).map(|(filter, task)| Route { filter, task }));
    }
    routes.into_iter().collect::<Option<_>>().unwrap_or_default()
}

/// The labels that `classify` chooses from.
fn choices(table: &mut Table<'_>, log: &mut Log) -> Vec<String> {
    if let Some(value) = table.get("labels").filter(|value| value.get_ref().is_table()) {
        let wrong = ValueError::new("expected a list of strings, the labels that `classify` chooses from");
        let wrong = wrong.help("labels of the service as a resource go to `resource-labels`");
        table.wrong("labels", value, wrong, log);
        return Vec::new();
    }
    let mut seen: Vec<&str> = Vec::new();
    table.list("labels", log, |label| {
        if label.trim().is_empty() {
            return Err(ValueError::new("an empty label"));
        }
        if seen.contains(&label) {
            return Err(ValueError::new("the same label twice"));
        }
        seen.push(label);
        Ok(label.to_owned())
    })
}

fn timeout(table: &mut Table<'_>, log: &mut Log) -> Option<Duration> {
    table.parsed("timeout", log, duration((1, 3600), "Cloud Run"))
}

/// A number, or a string as Cloud Run writes it.
fn processors(table: &mut Table<'_>, log: &mut Log) -> Option<Cpu> {
    let value = table.get("cpu")?;
    let inner = value.get_ref();
    let number = inner.as_integer().map(|integer| integer.as_str());
    let number = number.or_else(|| inner.as_float().map(|float| float.as_str()));
    let Some(text) = number.or_else(|| inner.as_str()) else {
        table.mismatch("cpu", value, "a number", log);
        return None;
    };
    cpu(text).map_err(|wrong| table.wrong("cpu", value, wrong, log)).ok()
}

/// Cloud Run's rules between processors, memory and concurrency.
fn resources(service: &Service, table: &Table<'_>, log: &mut Log) {
    let Some(cpu) = service.cpu else { return };
    let (least, most) = match cpu.millis {
        ..500 => (128, 512),
        500..1000 => (128, 1024),
        1000 => (128, 4096),
        2000 => (128, 8192),
        4000 => (2048, 16_384),
        6000 => (4096, 24_576),
        _ => (4096, 32_768),
    };
    // Cloud Run's default is 512 MiB.
    let memory = service.memory.unwrap_or(Memory { mebibytes: 512 });
    if !(least..=most).contains(&memory.mebibytes) {
        let [low, high] = [least, most].map(|mebibytes| Memory { mebibytes });
        let message = format!("{memory} of memory do not go with {cpu} of cpu in {}", table.what);
        let label = format!("with this `cpu` Cloud Run allows {low} to {high}");
        log.add(table.at_key("memory"), message, label, None);
    }
    if cpu.millis < 1000 && service.concurrency != Some(1) {
        let message = format!("{} has less than one processor for several requests", table.what);
        let label = "below 1, Cloud Run allows `concurrency = 1` only";
        log.add(table.at_key("cpu"), message, label, None);
    }
}

fn variable(name: &str) -> Result<(), ValueError> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if name.is_empty() || !plain || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(ValueError::new("a variable's name is letters, digits and `_`, no digit first"));
    }
    if matches!(name, "PORT" | "K_SERVICE" | "K_REVISION" | "K_CONFIGURATION") {
        return Err(ValueError::new("Cloud Run sets this variable itself"));
    }
    Ok(())
}

impl Secret {
    /// `NAME:VERSION`, as gcloud writes it.
    pub fn reference(&self) -> String {
        format!("{}:{}", self.secret, self.version)
    }

    /// The secret's name, and its project where the declaration names one.
    pub fn name_and_project(&self) -> (&str, Option<&str>) {
        let named = self.secret.strip_prefix("projects/").and_then(|rest| rest.split_once("/secrets/"));
        named.map_or((&self.secret, None), |(project, name)| (name, Some(project)))
    }
}
