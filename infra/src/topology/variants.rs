//! A declaration as it stands, and as it is in each of its environments.

use toml::de::DeTable;

use crate::text::without_bom;

use super::environments::{self, Names};
use super::error::{Errors, Log, suggest};
use super::types::Topology;
use super::{read, sections};

/// The longest declaration that is read, in bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

/// What one file declares, under the names that it writes.
pub(super) struct Variants {
    pub(super) plain: Topology,
    /// In the order of the file.
    pub(super) environments: Vec<(Names, Topology)>,
}

impl Variants {
    /// The declaration as it stands, or as it is in this environment, which is declared.
    pub(super) fn into_topology(self, wanted: Option<&str>) -> Topology {
        let environments = self.environments.iter().map(|(names, _)| names.environment.clone()).collect();
        let chosen = self.environments.into_iter().find(|(names, _)| Some(&*names.environment) == wanted);
        let mut topology = match chosen {
            Some((names, mut topology)) => {
                names.apply(&mut topology);
                topology
            }
            None => self.plain,
        };
        topology.environments = environments;
        topology
    }
}

/// Reads a file, for a program with the tasks `program`; it is an error that `wanted` is no environment of it.
pub(super) fn read(text: &str, file: &str, wanted: Option<&str>, program: &[&str]) -> Result<Variants, Errors> {
    let text = without_bom(text);
    if text.len() > MAX_BYTES {
        let label = format!("{} bytes, at most {MAX_BYTES} are read", text.len());
        return Err(Errors::one(file, "the topology is too long".to_owned(), label, None));
    }
    let mut log = Log::default();
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in syntax {
        log.add(error.span().unwrap_or_default(), "not valid TOML", error.message(), None);
    }
    if !log.is_empty() {
        return Err(log.into_errors(text, file));
    }
    let plain = sections::read(root.get_ref(), text, &Names::default(), program, &mut log);
    let environments: Vec<_> = environments::environments(root.get_ref(), text, &mut log)
        .into_iter()
        .map(|environment| {
            let topology = sections::read(&environment.table, text, &environment.names, program, &mut log);
            (environment.names, topology)
        })
        .collect();
    if let Some(wanted) = wanted.filter(|wanted| environments.iter().all(|(names, _)| names.environment != *wanted)) {
        let help = suggest(wanted, "environments", environments.iter().map(|(names, _)| &*names.environment));
        let (at, _) = read::locate(root.get_ref(), &["environments"]);
        log.add(at, format!("there is no environment `{wanted}`"), "not declared in this file", help);
    }
    if log.is_empty() { Ok(Variants { plain, environments }) } else { Err(log.into_errors(text, file)) }
}
