//! The topology that a verb works on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use infra::topology::Topology;

use crate::flags::Declaration;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The given file, or else the one that the project ships with.
pub(crate) fn path(given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| root().join("infra/topology.toml"), Path::to_path_buf)
}

/// Reads and checks a topology, with the changes of one of its environments if one is named.
///
/// # Errors
/// The file cannot be read, or has mistakes, which are then all listed with their lines.
pub(crate) fn read(declaration: &Declaration) -> Result<Topology> {
    let path = path(declaration.topology.as_deref());
    let text = infra::text::read(&path).with_context(|| format!("reading the topology {}", path.display()))?;
    parse(&text, &path, declaration.env.as_deref())
}

/// The part of a topology that the function reads: the text that an archive holds.
///
/// # Errors
/// As [`read`].
pub(crate) fn runtime_declaration(path: &Path) -> Result<String> {
    let text = infra::text::read(path).with_context(|| format!("reading the topology {}", path.display()))?;
    parse(&text, path, None)?;
    let name = short(path);
    Topology::runtime_declaration(&text, &name)
        .map_err(|errors| anyhow!("the topology {name} cannot be used\n\n{errors}"))
}

/// The path relative to the current directory if it is below: short, and an editor opens it.
fn short(path: &Path) -> String {
    let short = std::env::current_dir().ok().and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    short.as_deref().unwrap_or(path).display().to_string()
}

/// As [`read`], of a text that is read already.
pub(crate) fn parse(text: &str, path: &Path, environment: Option<&str>) -> Result<Topology> {
    let name = short(path);
    let topology = match environment {
        Some(environment) => Topology::parse_environment(text, &name, environment),
        None => Topology::parse(text, &name),
    };
    let topology = topology.map_err(|errors| anyhow!("the topology {name} cannot be used\n\n{errors}"))?;
    // A runtime declaration lacks the rest of the topology, and `deploy` would delete that.
    ensure!(
        !topology.runtime,
        "the topology {name} is the copy of an archive, which holds only what the function reads\n  \
            help: give the declaration that it was made from, such as infra/topology.toml"
    );
    Ok(topology)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_declaration_is_meant_unless_another_is_given() {
        let topology = read(&Declaration::default()).unwrap();
        assert_eq!(Ok(topology), Topology::shipped());
        let runtime = runtime_declaration(&path(None)).unwrap();
        assert_eq!(runtime, infra::topology::DEFAULT);
        // As an editor of Windows writes it.
        let path = std::env::temp_dir().join(format!("xtask-topology-{}.toml", std::process::id()));
        std::fs::write(&path, "\u{feff}[services.mine]\r\n").unwrap();
        assert!(runtime_declaration(&path).unwrap().contains("[services.mine]"));
        std::fs::remove_file(path).unwrap();
        let error = parse(&runtime, Path::new("mine.toml"), None).unwrap_err().to_string();
        assert!(error.contains("mine.toml is the copy of an archive"), "{error}");
        assert_eq!(
            read(&Declaration { topology: None, env: Some("staging".to_owned()) }).unwrap().environment.as_deref(),
            Some("staging")
        );
        let error = read(&Declaration { topology: Some("nowhere.toml".into()), env: None }).unwrap_err();
        assert!(format!("{error:#}").contains("nowhere.toml"), "{error:#}");
    }

    #[test]
    fn mistakes_are_shown_with_their_place() {
        let error = parse("[topics.a-topic]\nretension = \"1d\"\n", Path::new("mine.toml"), None).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("--> mine.toml:2:1") && text.contains("did you mean `retention`?"), "{text}");
    }
}
