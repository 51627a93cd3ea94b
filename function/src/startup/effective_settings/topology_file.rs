//! Which file the topology is read from.

use std::path::{Path, PathBuf};

use infra::topology::{self, Topology};

use crate::Config;
use crate::startup::error::StartError;

/// Which topology was read.
pub(super) struct Origin {
    /// A file, or the copy compiled in.
    pub(super) name: String,
    /// The file was chosen for this program, by a setting or by deploying it with the binary.
    pub(super) chosen: bool,
}

/// Reads the topology that is chosen: by the setting `TOPOLOGY`, beside the executable, in the workspace, or compiled
/// in.
pub(super) fn read(config: &Config, tasks: &[&str]) -> Result<(Topology, Origin), StartError> {
    let chosen = config.topology.clone().or_else(beside);
    let is_chosen = chosen.is_some();
    let file = chosen.or_else(in_workspace);
    let name = file.as_ref().map_or_else(|| "the copy compiled in".to_owned(), |path| path.display().to_string());
    let text = match file {
        Some(path) => infra::text::read(&path).map_err(|error| StartError::setting("TOPOLOGY", &name, error))?,
        None => topology::DEFAULT.to_owned(),
    };
    let environment = config.topology_environment.as_deref().filter(|environment| !environment.is_empty());
    let topology = Topology::parse_for(&text, &name, environment, tasks)
        .map_err(|errors| StartError::setting("TOPOLOGY", &name, format!("it cannot be used\n{errors}")))?;
    Ok((topology, Origin { name, chosen: is_chosen }))
}

/// The file that is deployed with the binary.
fn beside() -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.parent()?.join("topology.toml");
    path.is_file().then_some(path)
}

/// The file that people edit, of the workspace whose `cargo run` or target directory this comes from. It is found when
/// the process starts and not compiled in, so that editing it builds nothing.
fn in_workspace() -> Option<PathBuf> {
    let file = |root: &Path| {
        let path = root.join("infra/topology.toml");
        (path.is_file() && root.join("function/Cargo.toml").is_file()).then_some(path)
    };
    // Cargo tells a program that it runs where its package is.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let run = package.as_deref().and_then(Path::parent).and_then(file);
    run.or_else(|| std::env::current_exe().ok()?.ancestors().skip(1).find_map(file))
}
