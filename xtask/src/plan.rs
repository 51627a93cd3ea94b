//! `cargo xtask plan`: what `deploy` would do.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use deploy::cloud::{Google, Settings};
use deploy::plan::{self, Archive, Context, Plan, Resource, State};
use infra::topology::{ArchiveFormat, Topology};

use crate::digest::sha256_hex;
use crate::flags::{self, DeployTarget};
use crate::package::{self, Binary};
use crate::{terminal, topology};

/// Exit code of `--detailed-exitcode` when there are changes.
const CHANGES: u8 = 2;

/// Stands for the project's id where none is set.
const UNKNOWN: &str = "PROJECT";

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
    /// Secrets that someone has to create first.
    pub(crate) missing: Vec<String>,
}

pub(crate) fn run(flags: &flags::Plan) -> Result<ExitCode> {
    let topology = topology::read(&flags.target.declaration)?;
    let plan = if flags.offline { offline(flags, &topology)? } else { online(flags, &topology)? };
    if flags.json {
        println!("{}", plan.to_json());
    } else {
        print!("{}", plan.text(terminal::colour()));
    }
    Ok(if flags.detailed_exitcode && !plan.is_empty() { ExitCode::from(CHANGES) } else { ExitCode::SUCCESS })
}

fn offline(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let settings = Settings::find(flags.target.project.as_deref(), flags.target.region.as_deref());
    let archive = flags.archive.as_deref().map(read).transpose()?.map(|built| built.archive);
    let mut context = Context {
        project: settings.project().unwrap_or(UNKNOWN).to_owned(),
        number: "PROJECT_NUMBER".to_owned(),
        region: settings.region().unwrap_or("REGION").to_owned(),
        archive,
    };
    let found = match &flags.snapshot {
        Some(path) => {
            let text = infra::text::read(path).with_context(|| format!("reading {}", path.display()))?;
            let (state, place) = State::from_snapshot(&text).with_context(|| format!("reading {}", path.display()))?;
            // The snapshot says where it was taken, and what ran there when nothing else is to be deployed.
            context = Context { archive: context.archive.or(place.archive.clone()), ..place };
            state
        }
        None => State::new(&topology.name),
    };
    let declared =
        if context.project == UNKNOWN { plan::declared(topology, &context) } else { declared(topology, &context)? };
    Ok(plan::plan(&declared, &found))
}

fn online(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let binary = Binary::Compiled { cross: flags.cross.choice(), install: false };
    let built = built(&flags.target, topology, flags.archive.as_deref(), binary)?;
    terminal::block_on(async {
        let mut google = connect(&flags.target).await?;
        google.set_archive(built.archive);
        let compared = compare(google, topology).await?;
        if let Some(path) = &flags.write_snapshot {
            let snapshot = compared.found.to_snapshot(compared.google.context());
            let text = serde_json::to_string_pretty(&snapshot).context("writing the snapshot")?;
            std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        }
        for missing in &compared.missing {
            eprintln!("note: `deploy` will stop: {missing}");
        }
        Ok(compared.plan)
    })
}

/// The given archive, or a new one with this binary.
pub(crate) fn built(
    target: &DeployTarget,
    topology: &Topology,
    archive: Option<&Path>,
    binary: Binary<'_>,
) -> Result<Built> {
    let built = match archive {
        Some(path) => read(path)?,
        None => {
            let format = topology.archive_format();
            let package::Archive { path, sha256, .. } =
                package::build(target.declaration.topology.as_deref(), format, binary)?;
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            Built { bytes: bytes.into(), archive: Archive { sha256, format } }
        }
    };
    if built.archive.format == ArchiveFormat::Zip {
        eprintln!(
            "warning: the archive is a zip file; Cloud Run documents a gzipped tar, and may refuse to run this one"
        );
    }
    Ok(built)
}

fn read(path: &Path) -> Result<Built> {
    let (bytes, format, warning) = package::archive::open(path)?;
    if let Some(warning) = warning {
        eprintln!("warning: {warning}");
    }
    let sha256 = sha256_hex(&bytes);
    Ok(Built { bytes: bytes.into(), archive: Archive { sha256, format } })
}

/// What is declared, in a project whose id is known.
///
/// # Errors
/// A bucket's name is impossible there.
pub(crate) fn declared(topology: &Topology, context: &Context) -> Result<Vec<Resource>> {
    topology.check_buckets(&context.project)?;
    Ok(plan::declared(topology, context))
}

/// Looks at the project.
pub(crate) async fn compare(google: Google, topology: &Topology) -> Result<Compared> {
    let declared = declared(topology, google.context())?;
    let found = google.find(&declared, &topology.name).await?;
    let missing = google.missing_secrets(&declared).await?;
    let plan = plan::plan(&declared, &found);
    Ok(Compared { google, found, plan, missing })
}

/// Clients for the project and region that are meant.
pub(crate) async fn connect(target: &DeployTarget) -> Result<Google> {
    let settings = Settings::find(target.project.as_deref(), target.region.as_deref());
    Ok(Google::connect(&settings).await?)
}
