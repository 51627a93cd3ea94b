//! `cargo xtask doctor`: what deploying needs, a line each, with the fix. Without credentials it says what it can.

mod permissions;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};

use anyhow::Result;
use deploy::cloud::{Api, Fault, Google, Settings};
use deploy::plan::plan;
use deploy::resources::{self, Kind, Resource, Target};
use infra::topology::Topology;
use serde_json::json;

use crate::deployment::{caller_notes, declared};
use crate::package::{self, Readiness};
use crate::{flags, terminal, topology};

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
    let topology = topology::read(&flags.target.declaration);
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
    let settings = Settings::find(flags.target.project.as_deref(), flags.target.region.as_deref());
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
        let secrets = topology.as_ref().is_ok_and(Topology::declares_secrets).then_some(Api::SecretManager);
        let remote = Api::always().chain(secrets).find(|api| !settings.endpoint(*api).is_local());
        let source = match remote.map(|api| settings.credentials(api)).transpose() {
            Ok(Some(_)) => settings.credentials_source(),
            Ok(None) => "none needed: every API is a stand-in on this machine".to_owned(),
            Err(error) => {
                report.add(Mark::Bad, "credentials", error.to_string());
                return Ok(());
            }
        };
        if settings.project().is_err() || settings.region().is_err() {
            report.add(Mark::Note, "credentials", format!("{source}; tried once project and region are set"));
            return Ok(());
        }
        // The first call shows whether the credentials are any good.
        match Google::connect(&settings).await {
            Ok(google) => {
                report.add(Mark::Good, "credentials", source);
                cloud(&google, topology.as_ref().ok(), &mut report).await;
            }
            Err(error) if matches!(error.fault, Fault::Setup(obstacle) if obstacle.is_login()) => {
                report.add(Mark::Bad, "credentials", error.to_string());
            }
            Err(error) => {
                report.add(Mark::Good, "credentials", source);
                report.add(Mark::Bad, "access", error.to_string());
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
    match package::report() {
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
    match package::newest() {
        Some(path) => report.add(Mark::Good, "archive", format!("{}", path.display())),
        None => report.add(
            Mark::Note,
            "archive",
            "none built yet; `cargo xtask build` makes one, and deploy does so itself",
        ),
    }
}

/// What only the project can say.
async fn cloud(google: &Google, topology: Option<&Topology>, report: &mut Report) {
    let context = google.context();
    report.add(Mark::Good, "access", format!("project number {}", context.number));
    let Some(topology) = topology else { return };
    let declared = match declared(topology, context) {
        Ok(declared) => declared,
        Err(error) => return report.add(Mark::Bad, "bucket", error.to_string()),
    };
    let apis = declared.iter().map(|resource| &resource.id).filter(|id| id.kind == Kind::Api);
    let apis: Vec<&str> = apis.map(|id| id.name.as_str()).collect();
    let enabled = match google.enabled(&apis).await {
        Ok(enabled) => enabled,
        Err(error) => return report.add(Mark::Bad, "APIs", error.to_string()),
    };
    let missing: Vec<&str> = apis.iter().filter(|api| !enabled.iter().any(|other| other == *api)).copied().collect();
    if missing.is_empty() {
        report.add(Mark::Good, "APIs", format!("{} enabled", apis.len()));
    } else {
        let list = missing.join(" ");
        let text = format!("deploy will enable {list}\n  or: gcloud services enable {list}");
        report.add(Mark::Note, "APIs", text);
    }
    buckets(google, &declared, report).await;
    secrets(google, &declared, report).await;
    for note in caller_notes(&declared, context) {
        report.add(Mark::Note, "callers", note);
    }
    // Creating a service agent is part of enabling its service. Where that cannot be told, it is taken for needed.
    let agent = match google.find(&declared, &topology.name).await {
        Ok(found) => plan(&declared, &found).steps.iter().any(|step| step.id.kind == Kind::ServiceAgent),
        Err(_) => true,
    };
    permissions(google, &declared, !missing.is_empty() || agent, report).await;
}

/// Whether the buckets that deploying writes to are the project's.
async fn buckets(google: &Google, declared: &[Resource], report: &mut Report) {
    let named =
        declared.iter().filter(|resource| matches!(resource.id.kind, Kind::Bucket | Kind::Policy(Target::Bucket)));
    let names: BTreeSet<&str> = named.map(|resource| resource.id.name.as_str()).collect();
    for name in names {
        match google.own_bucket(name).await {
            Ok(_) => report.add(Mark::Good, "bucket", format!("{name} is this project's")),
            Err(error) if error.fault == Fault::Missing => {
                let ours = declared.iter().any(|resource| resource.id.kind == Kind::Bucket && resource.id.name == name);
                match ours {
                    true => report.add(Mark::Good, "bucket", format!("{name} is free; deploy creates it")),
                    false => {
                        let help = format!("gcloud storage buckets create gs://{name}");
                        report.add(Mark::Bad, "bucket", format!("{name} is not there\n  help: {help}"));
                    }
                }
            }
            // Cloud Storage tells nothing before its API is enabled.
            Err(error) if error.fault == Fault::Disabled => {}
            Err(error) => report.add(Mark::Bad, "bucket", error.to_string()),
        }
    }
}

async fn secrets(google: &Google, declared: &[Resource], report: &mut Report) {
    let count = declared.iter().filter(|resource| resource.id.kind == Kind::Secret).count();
    match google.missing_secrets(declared).await {
        Ok(missing) if missing.is_empty() && count == 0 => {}
        Ok(missing) if missing.is_empty() => {
            report.add(Mark::Good, "secrets", format!("none of {count} is missing"));
        }
        Ok(missing) => missing.into_iter().for_each(|text| report.add(Mark::Bad, "secrets", text)),
        Err(error) => report.add(Mark::Bad, "secrets", error.to_string()),
    }
}

async fn permissions(google: &Google, declared: &[Resource], enables: bool, report: &mut Report) {
    let needed = resources::permissions(declared, enables);
    let asked: Vec<&str> = needed.iter().map(|permission| permission.name).collect();
    match google.missing_permissions(&asked).await {
        Ok(missing) if missing.is_empty() => {
            report.add(Mark::Good, "permissions", format!("all {} that deploying needs", asked.len()));
        }
        Ok(missing) => {
            let roles = permissions::roles(&missing).join(", ");
            let text = format!("missing {}\n  help: ask for {roles}", missing.join(", "));
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
