//! Changes of sources and topology, debounced.
//!
//! Not with `notify-debouncer-mini`, which drops the kinds of events: a build opens every source, and that would be a
//! change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, timeout};

use crate::topology::root;

/// A change is complete when this much time has passed without another one.
const QUIET_TIME: Duration = Duration::from_millis(100);
/// Changes that do not stop are reported after this much time.
const MAX_DEBOUNCE: Duration = Duration::from_secs(2);

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) sources: bool,
    pub(super) topology: bool,
}

/// The files that count.
#[derive(Debug)]
pub(super) struct Watched {
    topology: PathBuf,
    /// The root of the workspace, if sources are watched.
    root: Option<PathBuf>,
}

#[derive(Default)]
struct Flags {
    sources: AtomicBool,
    topology: AtomicBool,
    changed: Notify,
}

/// Sends changes until the watcher is dropped.
pub(super) fn watch(topology: &Path, sources: bool, changes: Sender<Change>) -> Result<RecommendedWatcher> {
    let real = |path: &Path| path.canonicalize().with_context(|| format!("looking at {}", path.display()));
    let root = if sources { Some(real(root())?) } else { None };
    let watched = Arc::new(Watched { topology: real(topology)?, root });
    let flags = Arc::new(Flags::default());
    let (noted, of) = (Arc::clone(&flags), Arc::clone(&watched));
    let handler = move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if matches!(event.kind, EventKind::Access(_)) {
            return;
        }
        for path in &event.paths {
            let Change { sources, topology } = of.change(path);
            noted.sources.fetch_or(sources, Ordering::Relaxed);
            noted.topology.fetch_or(topology, Ordering::Relaxed);
            if sources || topology {
                noted.changed.notify_one();
            }
        }
    };
    let mut watcher = notify::recommended_watcher(handler).context("watching for changes")?;
    let mut look = |path: &Path, mode| {
        let looked = watcher.watch(path, mode);
        looked.with_context(|| format!("watching {} for changes", path.display()))
    };
    let mut covered = false;
    if let Some(root) = &watched.root {
        look(root, RecursiveMode::NonRecursive)?;
        for folder in ["function", "infra"].map(|name| root.join(name)) {
            covered |= watched.topology.starts_with(&folder);
            look(&folder, RecursiveMode::Recursive)?;
        }
    }
    // The folder, not the file: editors replace the file by a new one.
    if let Some(folder) = watched.topology.parent().filter(|folder| !covered && watched.root.as_deref() != Some(folder))
    {
        look(folder, RecursiveMode::NonRecursive)?;
    }
    tokio::spawn(async move {
        loop {
            flags.changed.notified().await;
            let start = Instant::now();
            while start.elapsed() < MAX_DEBOUNCE && timeout(QUIET_TIME, flags.changed.notified()).await.is_ok() {}
            let (sources, topology) =
                (flags.sources.swap(false, Ordering::Relaxed), flags.topology.swap(false, Ordering::Relaxed));
            if (sources || topology) && changes.send(Change { sources, topology }).await.is_err() {
                return;
            }
        }
    });
    Ok(watcher)
}

impl Watched {
    fn change(&self, path: &Path) -> Change {
        let topology = path == self.topology;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let temporary = name.starts_with('.') || name.ends_with('~') || name.ends_with(".swp") || name == "4913";
        let source = self.root.as_ref().and_then(|root| path.strip_prefix(root).ok()).is_some_and(|path| {
            path.starts_with("function")
                || path.starts_with("infra/src")
                || path == Path::new("infra/Cargo.toml")
                || path == Path::new("Cargo.toml")
                || path == Path::new("Cargo.lock")
        });
        Change { sources: source && !topology && !temporary, topology }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_function_is_built_from_is_watched_and_nothing_else() {
        let watched = Watched { topology: "/w/infra/topology.toml".into(), root: Some("/w".into()) };
        let (sources, topology) =
            (Change { sources: true, topology: false }, Change { sources: false, topology: true });
        for (path, change) in [
            ("/w/function/src/main.rs", sources),
            ("/w/infra/src/filter.rs", sources),
            ("/w/Cargo.lock", sources),
            ("/w/infra/deploy/src/lib.rs", Change::default()),
            ("/w/infra/topology.toml", topology),
            ("/w/function/src/.main.rs.swp", Change::default()),
            ("/w/target/debug/main", Change::default()),
            ("/w/README.md", Change::default()),
            ("/elsewhere/function/x.rs", Change::default()),
        ] {
            assert_eq!(watched.change(Path::new(path)), change, "{path}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_replaced_has_changed_once() {
        let folder = std::env::temp_dir().join(format!("xtask-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("topology.toml");
        std::fs::write(&file, "a").unwrap();
        let (send, mut changes) = tokio::sync::mpsc::channel(1);
        let watcher = watch(&file, false, send).unwrap();
        std::fs::write(folder.join("other.toml"), "b").unwrap();
        std::fs::write(folder.join("new"), "b").unwrap();
        std::fs::rename(folder.join("new"), &file).unwrap();
        let change = timeout(Duration::from_secs(20), changes.recv()).await.unwrap().unwrap();
        assert_eq!(change, Change { sources: false, topology: true });
        drop(watcher);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
