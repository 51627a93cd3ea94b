//! Google's Pub/Sub emulator.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::PubSub;
use crate::process::{Process, found, free_port, output};

/// A running emulator; derefs to what can be done with it.
#[derive(Debug)]
pub struct Emulator {
    pubsub: PubSub,
    _process: Process,
}

impl Emulator {
    /// Starts one on a free port, which takes about 2.5 s; `None` where a part is missing (see the crate's
    /// documentation).
    pub fn start() -> Option<Self> {
        found("Pub/Sub emulator", Self::try_start(free_port()))
    }

    /// Starts one at `127.0.0.1:PORT`, where another was before.
    pub fn start_at(host: &str) -> Option<Self> {
        let port = host.rsplit(':').next().and_then(|port| port.parse().ok());
        let started = port.ok_or_else(|| format!("`{host}` has no port")).and_then(Self::try_start);
        found("Pub/Sub emulator", started)
    }

    /// The one that all tests of this process share.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Emulator>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn try_start(port: u16) -> Result<Self, String> {
        let jar = find_jar()?;
        // The jar itself: the gcloud wrapper's child outlives it.
        let program = [
            "java".to_owned(),
            "-Xmx512m".to_owned(),
            "-jar".to_owned(),
            jar.display().to_string(),
            "--host=127.0.0.1".to_owned(),
            format!("--port={port}"),
        ];
        let process = Process::start(&program, port, "/")?;
        Ok(Self { pubsub: PubSub::at(&format!("127.0.0.1:{port}")), _process: process })
    }
}

impl Deref for Emulator {
    type Target = PubSub;

    fn deref(&self) -> &PubSub {
        &self.pubsub
    }
}

fn find_jar() -> Result<PathBuf, String> {
    output("java", &["--version"]).ok_or("`java` does not run; install a Java runtime of version 11 or later")?;
    let root = output("gcloud", &["info", "--format=value(installation.sdk_root)"])
        .ok_or("`gcloud info` names no installation; install the Google Cloud SDK")?;
    let folder = Path::new(&root).join("platform/pubsub-emulator/lib");
    let jars = std::fs::read_dir(&folder)
        .map_err(|error| format!("{}: {error}; install the SDK's component pubsub-emulator", folder.display()))?;
    jars.filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with("cloud-pubsub-emulator-") && name.ends_with("-all.jar")
        })
        .ok_or_else(|| format!("{} holds no cloud-pubsub-emulator-*-all.jar", folder.display()))
}
