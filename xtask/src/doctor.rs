//! `cargo xtask doctor`: what deploying needs, a line each, with the fix. Without credentials it says what it can.

use std::process::{Command, ExitCode};

use anyhow::Result;
use deploy::cloud::{Api, Google, Settings};
use deploy::plan::{self, Kind};
use serde_json::json;

use crate::build::{self, Readiness};
use crate::{flags, terminal, topology};

/// What `deploy` and `destroy` do in a project, and the predefined role that allows it.
/// <https://cloud.google.com/iam/docs/permissions-reference>
const PERMISSIONS: [(&str, &str); 18] = [
    ("resourcemanager.projects.get", "roles/browser"),
    ("serviceusage.services.enable", "roles/serviceusage.serviceUsageAdmin"),
    ("serviceusage.services.list", "roles/serviceusage.serviceUsageAdmin"),
    ("iam.serviceAccounts.create", "roles/iam.serviceAccountAdmin"),
    ("iam.serviceAccounts.delete", "roles/iam.serviceAccountAdmin"),
    ("iam.serviceAccounts.actAs", "roles/iam.serviceAccountUser"),
    ("storage.buckets.create", "roles/storage.admin"),
    ("storage.buckets.setIamPolicy", "roles/storage.admin"),
    ("storage.objects.create", "roles/storage.admin"),
    ("pubsub.topics.create", "roles/pubsub.admin"),
    ("pubsub.topics.setIamPolicy", "roles/pubsub.admin"),
    ("pubsub.subscriptions.create", "roles/pubsub.admin"),
    ("pubsub.subscriptions.update", "roles/pubsub.admin"),
    ("pubsub.subscriptions.setIamPolicy", "roles/pubsub.admin"),
    ("run.services.create", "roles/run.admin"),
    ("run.services.setIamPolicy", "roles/run.admin"),
    ("eventarc.triggers.create", "roles/eventarc.admin"),
    ("eventarc.triggers.delete", "roles/eventarc.admin"),
];

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    Good,
    Note,
    Bad,
}

#[derive(Default)]
struct Report(Vec<(Mark, &'static str, String)>);

impl Report {
    fn add(&mut self, mark: Mark, name: &'static str, text: impl Into<String>) {
        self.0.push((mark, name, text.into()));
    }
}

pub(crate) fn run(flags: &flags::Doctor) -> Result<ExitCode> {
    let mut report = Report::default();
    tools(&mut report);
    compiler(&mut report);
    let topology = topology::read(&flags.place.declaration);
    match &topology {
        Ok(topology) => {
            let counts = format!(
                "{} topics, {} subscriptions, {} services",
                topology.topics.len(),
                topology.subscriptions.len(),
                topology.services.len()
            );
            report.add(Mark::Good, "topology", counts);
        }
        Err(error) => report.add(Mark::Bad, "topology", format!("{error:#}")),
    }
    archive(&mut report);
    let settings = Settings::find(flags.place.project.as_deref(), flags.place.region.as_deref());
    for (name, found, checked) in [
        ("project", settings.project_found(), settings.project()),
        ("region", settings.region_found(), settings.region()),
    ] {
        match (checked, found) {
            (Ok(value), Some(found)) => report.add(Mark::Good, name, format!("{value}, from {}", found.source)),
            (Err(error), _) => report.add(Mark::Bad, name, error.to_string()),
            (Ok(_), None) => {}
        }
    }
    for api in Api::ALL {
        let endpoint = settings.endpoint(api);
        if let (Some(url), Some(source)) = (endpoint.url, endpoint.source) {
            report.add(Mark::Note, "endpoint", format!("{} is {url}, from {source}", api.service()));
        }
    }
    terminal::block_on(async {
        let remote = Api::ALL.into_iter().find(|api| !settings.endpoint(*api).is_local());
        match remote.map(|api| settings.credentials(api)).transpose() {
            Ok(Some(_)) => report.add(Mark::Good, "credentials", settings.credentials_source()),
            Ok(None) => report.add(Mark::Good, "credentials", "none needed: every API is a stand-in on this machine"),
            Err(error) => report.add(Mark::Bad, "credentials", error.to_string()),
        }
        if !report
            .0
            .iter()
            .any(|(mark, name, _)| *mark == Mark::Bad && ["project", "region", "credentials"].contains(name))
        {
            match Google::connect(&settings).await {
                Ok(google) => cloud(&google, topology.as_ref().ok(), &mut report).await,
                Err(error) => report.add(Mark::Bad, "access", error.to_string()),
            }
        }
        Ok(())
    })?;
    print(&report, flags.json);
    let bad = report.0.iter().any(|(mark, _, _)| *mark == Mark::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn tools(report: &mut Report) {
    let version = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
    };
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    match version(&cargo, "--version") {
        Some(version) => report.add(Mark::Good, "cargo", version),
        None => report.add(Mark::Bad, "cargo", "does not run\n  help: install Rust, https://rustup.rs"),
    }
    match version("gcloud", "--version") {
        Some(version) => report.add(Mark::Good, "gcloud", version),
        None => report.add(
            Mark::Note,
            "gcloud",
            "not installed; it is only needed to log in: `gcloud auth application-default login`",
        ),
    }
}

/// With what `build` and `deploy` compile, and what is missing for that.
fn compiler(report: &mut Report) {
    match build::report() {
        Ok(decision) => {
            let mark = match decision.readiness() {
                Readiness::Ready => Mark::Good,
                Readiness::Installs => Mark::Note,
                Readiness::Blocked => Mark::Bad,
            };
            report.add(mark, "build", decision.to_string());
        }
        Err(error) => report.add(Mark::Bad, "build", format!("{error:#}")),
    }
}

fn archive(report: &mut Report) {
    match build::newest() {
        Some(path) => report.add(Mark::Good, "archive", format!("{}", path.display())),
        None => report.add(
            Mark::Note,
            "archive",
            "none built yet; `cargo xtask build` makes one, and deploy does so itself",
        ),
    }
}

/// What only the project can say.
async fn cloud(google: &Google, topology: Option<&infra::topology::Topology>, report: &mut Report) {
    let context = google.context();
    report.add(Mark::Good, "access", format!("project number {}", context.number));
    if let Some(topology) = topology {
        let declared = plan::declared(topology, context);
        let apis = declared.iter().map(|resource| &resource.id).filter(|id| id.kind == Kind::Api);
        let apis: Vec<&str> = apis.map(|id| id.name.as_str()).collect();
        match google.enabled(&apis).await {
            Ok(enabled) if enabled.len() == apis.len() => {
                report.add(Mark::Good, "APIs", format!("{} enabled", apis.len()));
            }
            Ok(enabled) => {
                let missing = apis.iter().filter(|api| !enabled.iter().any(|enabled| enabled == *api));
                let list = missing.copied().collect::<Vec<_>>().join(" ");
                let text = format!("deploy will enable {list}\n  or: gcloud services enable {list}");
                report.add(Mark::Note, "APIs", text);
            }
            Err(error) => report.add(Mark::Bad, "APIs", error.to_string()),
        }
    }
    let permissions: Vec<&str> = PERMISSIONS.iter().map(|(permission, _)| *permission).collect();
    match google.missing_permissions(&permissions).await {
        Ok(missing) if missing.is_empty() => {
            report.add(Mark::Good, "permissions", format!("all {} that deploying needs", permissions.len()));
        }
        Ok(missing) => {
            let mut roles: Vec<&str> =
                PERMISSIONS.iter().filter(|(p, _)| missing.contains(p)).map(|(_, role)| *role).collect();
            roles.dedup();
            let text = format!("missing {}\n  help: ask for {}", missing.join(", "), roles.join(", "));
            report.add(Mark::Bad, "permissions", text);
        }
        Err(error) => report.add(Mark::Note, "permissions", format!("could not be asked for: {error}")),
    }
}

fn print(report: &Report, json: bool) {
    let word = |mark| match mark {
        Mark::Good => "ok",
        Mark::Note => "note",
        Mark::Bad => "bad",
    };
    if json {
        let lines =
            report.0.iter().map(|(mark, name, text)| json!({"check": name, "status": word(*mark), "text": text}));
        println!("{}", json!({"checks": lines.collect::<Vec<_>>()}));
        return;
    }
    for (mark, name, text) in &report.0 {
        let (sign, code) = match mark {
            Mark::Good => ("✓", "32"),
            Mark::Note => ("·", "33"),
            Mark::Bad => ("✗", "31"),
        };
        let sign = if terminal::colour() { format!("\x1b[{code}m{sign}\x1b[0m") } else { sign.to_owned() };
        println!("{sign} {name:<12} {}", text.replace('\n', "\n               "));
    }
}
