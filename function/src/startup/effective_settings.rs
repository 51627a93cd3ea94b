//! What the topology declares for this process, and what the settings say instead.

mod tasks;
mod topology_file;

use std::str::FromStr;

use infra::topology::{Service, Topology};

use super::error::StartError;
use crate::pull::PullSubscription;
use crate::resource_names::check_name;
use crate::sink::DestinationError;
use crate::{Config, Destination, LedgerLocation};

/// The service that this process is, and where its messages come from and go.
pub(super) struct EffectiveSettings {
    pub(super) service: Service,
    pub(super) results: Vec<Destination>,
    pub(super) ledger: LedgerLocation,
    /// `projects/P/topics/T`
    pub(super) dead_letter_topic: Option<String>,
    pub(super) pull: Option<PullSubscription>,
}

impl EffectiveSettings {
    /// Locally a process responds with its results and dead-letters nothing; on Cloud Run, or when it pulls, it does
    /// what its service declares. Pulled messages have no response, so their results must go elsewhere.
    ///
    /// The declared ledger is ignored on an emulated Pub/Sub (`emulated`), because emulators reuse message ids.
    ///
    /// `tasks` are those of the program.
    pub(super) fn read(
        config: &Config,
        project: Option<&str>,
        emulated: bool,
        tasks: &[&str],
    ) -> Result<Self, StartError> {
        let (topology, origin) = topology_file::read(config, tasks)?;
        let service = find(config, &topology)?;
        tasks::check(&service, tasks, &origin)?;
        let pull = match config.pull.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => Some(subscription(name, project, &topology)?),
            None => None,
        };
        // Where no variable names the project, it is that of the subscription.
        let project = project.or_else(|| pull.as_ref().and_then(|pull| pull.name.split('/').nth(1)));
        let as_declared = config.on_cloud_run() || pull.is_some();
        let results = match &config.results {
            Some(results) => results.clone(),
            None if as_declared && !service.results.is_empty() => {
                let results = service.results.iter();
                results.map(|result| declared(|name| result.setting(name), project)).collect::<Result<_, _>>()?
            }
            None if pull.is_some() => Vec::new(),
            None => vec![Destination::Response],
        };
        let results = if pull.is_some() { for_pulled(config, results)? } else { results };
        let ledger = match (&config.ledger, &service.ledger) {
            (Some(ledger), _) => ledger.clone(),
            (None, Some(ledger)) if config.on_cloud_run() || (pull.is_some() && !emulated) => {
                declared(|name| ledger.setting(name), project)?
            }
            _ => LedgerLocation::Off,
        };
        let dead_letter_topic = match (&config.dead_letter_topic, &service.dead_letter_topic) {
            (Some(topic), _) => Some(topic.clone()),
            (None, Some(topic)) if as_declared => Some(format!("projects/{}/topics/{topic}", needed(project, topic)?)),
            _ => None,
        };
        Ok(Self { service, results, ledger, dead_letter_topic, pull })
    }
}

/// The destinations of a process that pulls. By default, requests to a local process still get their result as the
/// response.
fn for_pulled(config: &Config, mut results: Vec<Destination>) -> Result<Vec<Destination>, StartError> {
    let elsewhere = results.iter().any(|result| *result != Destination::Response);
    if config.results.is_none() {
        if !elsewhere {
            results.push(Destination::Stdout);
        }
        if !config.no_http && !config.on_cloud_run() {
            results.push(Destination::Response);
        }
    } else if !elsewhere {
        let why = "a pulled message has no answer that could hold its result; \
                   add stdout, projects/P/topics/T or gs://BUCKET/PREFIX/";
        return Err(StartError::setting("RESULTS", "response", why));
    }
    Ok(results)
}

/// The subscription that a full or a short name means, with its topic where the topology declares it.
fn subscription(name: &str, project: Option<&str>, topology: &Topology) -> Result<PullSubscription, StartError> {
    let full = if name.contains('/') {
        name.to_owned()
    } else {
        let why = format!("`{name}` alone belongs to a project: set it, or write projects/P/subscriptions/{name}");
        let project = project.ok_or_else(|| StartError::setting("GOOGLE_CLOUD_PROJECT", "", why))?;
        format!("projects/{project}/subscriptions/{name}")
    };
    check_name("subscription", &full).map_err(|why| StartError::setting("PULL_SUBSCRIPTION", name, why))?;
    let (project, short) = full.split_once("/subscriptions/").unwrap_or((&full, ""));
    let topic = topology.subscription(short).map(|declared| format!("{project}/topics/{}", declared.topic));
    Ok(PullSubscription { name: full, topic })
}

/// The service that this process is, reduced to what the function reads: the same from a whole declaration as from the
/// part of it that an archive holds.
fn find(config: &Config, topology: &Topology) -> Result<Service, StartError> {
    let names: Vec<&str> = topology.services.iter().map(|service| service.name.as_str()).collect();
    if let Some(name) = &config.service {
        let unknown = || StartError::setting("SERVICE", name, format!("declared are: {}", names.join(", ")));
        return topology.service(name).map(Service::runtime).ok_or_else(unknown);
    }
    if let Some(name) = &config.k_service {
        match topology.service(name) {
            Some(service) => return Ok(service.runtime()),
            None => tracing::warn!(name, "K_SERVICE is not a declared service; taking the first one"),
        }
    }
    // A topology without services still routes by attribute.
    Ok(topology.first_service().map(Service::runtime).unwrap_or_default())
}

/// Parses a declared destination or ledger. `setting` is its text in a project; it belongs to one if two projects make
/// two texts.
fn declared<T: FromStr<Err = DestinationError>>(
    setting: impl Fn(&str) -> String,
    project: Option<&str>,
) -> Result<T, StartError> {
    let belongs = setting("a") != setting("b");
    let project = if belongs { needed(project, &setting("PROJECT"))? } else { "" };
    let setting = setting(project);
    setting.parse().map_err(|error| StartError::setting("TOPOLOGY", setting, error))
}

fn needed<'a>(project: Option<&'a str>, name: &str) -> Result<&'a str, StartError> {
    let why = format!("the declared `{name}` belongs to a project; set it to the project's id");
    project.ok_or_else(|| StartError::setting("GOOGLE_CLOUD_PROJECT", "", why))
}
