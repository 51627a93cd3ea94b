//! `cargo xtask plan`: what `deploy` would do.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use deploy::cloud::{Google, Settings};
use deploy::plan::{self, Archive, Context, Plan, Resource, State};
use infra::topology::Topology;

use crate::flags::{self, Place};
use crate::{build, terminal, topology};

/// Exit code of `--detailed-exitcode` when there are changes.
const CHANGES: u8 = 2;

/// The archive that is deployed: the file, and its digest.
pub(crate) struct Built {
    pub(crate) bytes: bytes::Bytes,
    pub(crate) archive: Archive,
}

/// What is declared, what was found, and the difference.
pub(crate) struct Compared {
    pub(crate) google: Google,
    pub(crate) found: State,
    pub(crate) plan: Plan,
}

pub(crate) fn run(flags: &flags::Plan) -> Result<ExitCode> {
    let topology = topology::read(&flags.place.declaration)?;
    let plan = if flags.offline { offline(flags, &topology)? } else { online(flags, &topology)? };
    if flags.json {
        println!("{}", plan.to_json());
    } else {
        print!("{}", plan.text(terminal::colour()));
    }
    Ok(if flags.detailed_exitcode && !plan.is_empty() { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

fn offline(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let settings = Settings::find(flags.place.project.as_deref(), flags.place.region.as_deref());
    let archive = flags.archive.as_deref().map(read).transpose()?.map(|built| built.archive);
    let mut context = Context {
        project: settings.project().unwrap_or("PROJECT").to_owned(),
        number: "PROJECT_NUMBER".to_owned(),
        region: settings.region().unwrap_or("REGION").to_owned(),
        archive,
    };
    let found = match &flags.snapshot {
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let (state, place) = State::from_snapshot(&text).with_context(|| format!("reading {}", path.display()))?;
            // The snapshot says where it was taken, and what ran there when nothing else is to be deployed.
            context = Context { archive: context.archive.or(place.archive.clone()), ..place };
            state
        }
        None => State::new(&topology.name),
    };
    Ok(plan::plan(&plan::declared(topology, &context), &found))
}

fn online(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let built = built(&flags.place, flags.archive.as_deref(), flags.cross, false)?;
    terminal::block_on(async {
        let mut google = connect(&flags.place).await?;
        google.set_archive(built.archive);
        let compared = compare(google, topology).await?;
        if let Some(path) = &flags.write_snapshot {
            let snapshot = compared.found.to_snapshot(compared.google.context());
            let text = serde_json::to_string_pretty(&snapshot).context("writing the snapshot")?;
            std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(compared.plan)
    })
}

/// The given archive, or a new one; with `yes`, what building needs is installed without asking.
pub(crate) fn built(place: &Place, archive: Option<&Path>, cross: flags::Cross, yes: bool) -> Result<Built> {
    match archive {
        Some(path) => read(path),
        None => {
            let flags =
                flags::Build { topology: place.declaration.topology.clone(), binary: None, cross, yes, json: false };
            read(&build::build(&flags)?.path)
        }
    }
}

fn read(path: &Path) -> Result<Built> {
    let bytes = std::fs::read(path).with_context(|| format!("reading the archive {}", path.display()))?;
    ensure!(bytes.starts_with(b"PK\x03\x04"), "{} is no zip archive; `cargo xtask build` makes one", path.display());
    let sha256 = build::archive::sha256(&bytes);
    Ok(Built { bytes: bytes.into(), archive: Archive { sha256 } })
}

/// Looks at the project.
pub(crate) async fn compare(google: Google, topology: &Topology) -> Result<Compared> {
    let declared: Vec<Resource> = plan::declared(topology, google.context());
    let found = google.find(&declared, &topology.name).await?;
    let plan = plan::plan(&declared, &found);
    Ok(Compared { google, found, plan })
}

/// Clients for the project and region that are meant.
pub(crate) async fn connect(place: &Place) -> Result<Google> {
    let settings = Settings::find(place.project.as_deref(), place.region.as_deref());
    Ok(Google::connect(&settings).await?)
}
