//! The environment variables of a service's process: the declared settings, with the addresses of this machine.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use deploy::resources::Context;
use infra::topology::{Destination, Service, Topology};

use super::declared::Identity;

/// Variables that a process does not inherit, since they would override the topology.
const REMOVED_VARIABLES: [&str; 12] = [
    "AUTH_AUDIENCE",
    "AUTH_EMAILS",
    "AUTH_KEYS_URL",
    "DEAD_LETTER_TOPIC",
    "HOST",
    "K_CONFIGURATION",
    "K_REVISION",
    "K_SERVICE",
    "PORT",
    "PULL_SUBSCRIPTION",
    "RESULTS",
    "TOPOLOGY_ENVIRONMENT",
];

/// The environment of one service.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Environment {
    pub(super) service: String,
    variables: BTreeMap<String, String>,
}

/// What all processes of a run share.
pub(super) struct Surroundings<'a> {
    pub(super) topology: &'a Topology,
    /// The copy of the topology that processes read.
    pub(super) file: &'a Path,
    pub(super) context: &'a Context,
    /// `HOST:PORT` of Pub/Sub.
    pub(super) pubsub_host: &'a str,
    /// Whether there is an emulator of Cloud Storage.
    pub(super) storage: bool,
}

impl Environment {
    /// `identity`: whose tokens the service's pushes carry, if it checks them. Returns notes too, on what differs from
    /// the declaration.
    pub(super) fn new(
        service: &Service,
        identity: Option<&Identity>,
        surroundings: &Surroundings<'_>,
    ) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        let project = &surroundings.context.project;
        let mut variables = service.environment.clone();
        for (name, secret) in &service.secrets {
            if std::env::var_os(name).is_none() {
                let reference = secret.reference();
                notes.push(format!(
                    "service `{}`: the secret {reference} is not read here; set {name} in this command's environment",
                    service.name
                ));
            }
        }
        let mut set = |name: &str, value: String| variables.insert(name.to_owned(), value);
        set("SERVICE", service.name.clone());
        set("TOPOLOGY", surroundings.file.display().to_string());
        if let Some(environment) = &surroundings.topology.environment {
            set("TOPOLOGY_ENVIRONMENT", environment.clone());
        }
        set("HOST", "127.0.0.1".to_owned());
        set("PORT", "0".to_owned());
        set("PUBSUB_EMULATOR_HOST", surroundings.pubsub_host.to_owned());
        set("GOOGLE_CLOUD_PROJECT", project.clone());
        set("LOG_FORMAT", "json".to_owned());
        set("RESULTS", results(service, surroundings, &mut notes));
        if let Some(topic) = &service.dead_letter_topic {
            set("DEAD_LETTER_TOPIC", surroundings.context.topic(topic));
        }
        if let Some(identity) = identity {
            set("AUTH_AUDIENCE", identity.audience.clone());
            set("AUTH_EMAILS", identity.emails.join(","));
            set("AUTH_KEYS_URL", format!("http://{}/oauth2/v3/certs", surroundings.pubsub_host));
        }
        (Self { service: service.name.clone(), variables }, notes)
    }

    pub(super) fn apply(&self, command: &mut Command) {
        for name in REMOVED_VARIABLES {
            command.env_remove(name);
        }
        command.envs(&self.variables);
    }

    /// The variables that an external process needs to be this service, for a shell.
    pub(super) fn line(&self, topology: &Path) -> String {
        let shown = ["SERVICE", "TOPOLOGY_ENVIRONMENT", "PUBSUB_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "RESULTS"];
        let shown = shown.into_iter().chain(["DEAD_LETTER_TOPIC"]);
        let variables = shown.filter_map(|name| Some(format!("{name}={}", self.variables.get(name)?)));
        let variables: Vec<String> = variables.collect();
        format!("TOPOLOGY={} {}", topology.display(), variables.join(" "))
    }
}

/// The declared destinations of results, with changes: buckets need an emulator, and a result that would only be in the
/// response, which Pub/Sub ignores, goes to standard output as well, to be shown.
fn results(service: &Service, surroundings: &Surroundings<'_>, notes: &mut Vec<String>) -> String {
    let mut all: Vec<String> = Vec::new();
    let mut seen = false;
    for result in &service.results {
        let setting = match result {
            Destination::Bucket { .. } if !surroundings.storage => {
                notes.push(format!(
                    "service `{}`: results for {} are shown here only; set STORAGE_EMULATOR_HOST to a stand-in for \
                        Cloud Storage",
                    service.name,
                    result.setting(&surroundings.context.project)
                ));
                "stdout".to_owned()
            }
            result => result.setting(&surroundings.context.project),
        };
        seen |= matches!(result, Destination::Topic(_)) || setting == "stdout";
        if !all.contains(&setting) {
            all.push(setting);
        }
    }
    if !seen {
        all.push("stdout".to_owned());
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(service: &str, storage: bool) -> (BTreeMap<String, String>, Vec<String>) {
        let text = format!("[topics.results]\n[services.mine]\ntimeout = \"10s\"\n{service}\n");
        let topology = Topology::parse(&text, "mine.toml").unwrap();
        let (project, number, region) = ("local".to_owned(), "0".to_owned(), "local".to_owned());
        let context = Context { project, number, region, archive: None };
        let file = Path::new("/run/topology.toml");
        let surroundings =
            Surroundings { topology: &topology, file, context: &context, pubsub_host: "127.0.0.1:1", storage };
        let identity = Identity { audience: "https://mine".to_owned(), emails: vec!["a@b".to_owned()] };
        let (environment, notes) = Environment::new(&topology.services[0], Some(&identity), &surroundings);
        (environment.variables, notes)
    }

    #[test]
    fn results_go_where_they_are_declared_to_go_and_are_seen() {
        for (declared, storage, expected, notes) in [
            ("results = [\"topic:results\"]", false, "projects/local/topics/results", 0),
            ("", false, "stdout", 0),
            ("results = [\"response\"]", false, "response,stdout", 0),
            ("results = [\"gs://a-bucket/x/\"]", false, "stdout", 1),
            ("results = [\"gs://a-bucket/x/\"]", true, "gs://a-bucket/x/,stdout", 0),
            (
                "results = [\"stdout\", \"gs://a-bucket/\", \"topic:results\"]",
                false,
                "stdout,projects/local/topics/results",
                1,
            ),
        ] {
            let (variables, found) = variables(declared, storage);
            assert_eq!((variables["RESULTS"].as_str(), found.len()), (expected, notes), "{declared}");
        }
    }

    #[test]
    fn the_declared_environment_is_set_and_does_not_replace_what_dev_needs() {
        let (variables, notes) =
            variables("environment = { MODEL = \"m\", SERVICE = \"x\" }\nsecrets = { NO_SUCH_KEY = \"key:1\" }", false);
        assert_eq!((variables["MODEL"].as_str(), variables["SERVICE"].as_str()), ("m", "mine"));
        assert_eq!(variables["AUTH_KEYS_URL"], "http://127.0.0.1:1/oauth2/v3/certs");
        assert!(notes.iter().any(|note| note.contains("key:1") && note.contains("NO_SUCH_KEY")), "{notes:?}");
    }
}
