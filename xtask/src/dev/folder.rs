//! The files of one run: copies that what changes meanwhile does not disturb.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::topology::root;

/// A folder under `target/dev` that is gone when dropped. One that a killed run left is removed by the next.
pub(super) struct Folder {
    path: PathBuf,
    copies: u32,
    /// Locked as long as this process lives.
    _lock: File,
}

const LOCK: &str = "lock";

impl Folder {
    pub(super) fn make() -> Result<Self> {
        let all = if root().is_dir() { root().join("target/dev") } else { std::env::temp_dir().join("xtask-dev") };
        prune(&all);
        let path = all.join(std::process::id().to_string());
        let made = || -> std::io::Result<File> {
            fs::create_dir_all(&path)?;
            let lock = File::create(path.join(LOCK))?;
            lock.lock()?;
            Ok(lock)
        };
        let lock = made().with_context(|| format!("making the folder {}", path.display()))?;
        Ok(Self { path, copies: 0, _lock: lock })
    }

    /// A copy of the binary: the original may be built anew while this runs, or is about to be started again.
    pub(super) fn binary(&mut self, original: &Path) -> Result<PathBuf> {
        self.copies += 1;
        let copy = self.path.join(format!("main-{}{}", self.copies, std::env::consts::EXE_SUFFIX));
        fs::copy(original, &copy).with_context(|| format!("copying {} to {}", original.display(), copy.display()))?;
        if let Some(older) = self.copies.checked_sub(2) {
            // Processes are started from the newest only; one that still runs from an older copy keeps it open.
            let _ = fs::remove_file(self.path.join(format!("main-{older}{}", std::env::consts::EXE_SUFFIX)));
        }
        Ok(copy)
    }

    /// The declaration as it was last right, for processes to read.
    pub(super) fn topology(&self, text: &str) -> Result<PathBuf> {
        let path = self.path.join("topology.toml");
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn prune(all: &Path) {
    for entry in fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        let dead = File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if dead {
            let _ = fs::remove_dir_all(path);
        }
    }
}
