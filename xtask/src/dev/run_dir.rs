//! The directory of one run: copies of the binary and the topology, so that changes of the originals do not disturb
//! what runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::topology::root;

/// A directory under `target/dev`, removed when dropped. One that a killed run left behind is removed by the next run.
pub(super) struct RunDir {
    path: PathBuf,
    copies: u32,
    /// Locked while this process lives, which tells other runs to leave the directory alone.
    _lock: File,
}

const LOCK_FILE: &str = "lock";

impl RunDir {
    pub(super) fn make() -> Result<Self> {
        let all = if root().is_dir() { root().join("target/dev") } else { std::env::temp_dir().join("xtask-dev") };
        prune(&all);
        let path = all.join(std::process::id().to_string());
        let made = || -> std::io::Result<File> {
            fs::create_dir_all(&path)?;
            let lock = File::create(path.join(LOCK_FILE))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = made().with_context(|| format!("creating the directory {}", path.display()))?;
        Ok(Self { path, copies: 0, _lock: lock })
    }

    /// Copies the binary, since a build may replace the original while a process runs from it or is about to be
    /// started.
    pub(super) fn binary(&mut self, original: &Path) -> Result<PathBuf> {
        self.copies += 1;
        let copy = self.path.join(format!("main-{}{}", self.copies, std::env::consts::EXE_SUFFIX));
        fs::copy(original, &copy).with_context(|| format!("copying {} to {}", original.display(), copy.display()))?;
        if let Some(older) = self.copies.checked_sub(2) {
            // Processes are started from the newest copy only, and the system keeps a removed file that a process runs
            // from.
            let _ = fs::remove_file(self.path.join(format!("main-{older}{}", std::env::consts::EXE_SUFFIX)));
        }
        Ok(copy)
    }

    /// Writes the topology, as it was last right, for processes to read.
    pub(super) fn topology(&self, text: &str) -> Result<PathBuf> {
        let path = self.path.join("topology.toml");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn prune(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        let dead = File::open(path.join(LOCK_FILE)).is_ok_and(|lock| lock.try_lock().is_ok());
        if dead {
            let _ = fs::remove_dir_all(path);
        }
    }
}
