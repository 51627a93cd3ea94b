//! Google's own tools, where they are installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::PubSub;
use crate::process::{found, output};

/// A Python that has this module: the one of `target/tools/venv`, or the one on `PATH`.
pub fn find_python(module: &str, package: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let candidates = [root.join("target/tools/venv/bin/python3"), "python3".into()];
    let works = |python: &PathBuf| {
        let import = ["-c", &format!("import {module}; print('found')")];
        python.to_str().and_then(|python| output(python, &import)).is_some()
    };
    let why = format!("no Python has {module}; `target/tools/venv/bin/pip install {package}` brings it");
    found(package, candidates.into_iter().find(works).ok_or(why))
}

/// The packages of Node that hold this one: those of `target/tools/node`, or of `NODE_PATH`.
pub fn find_node_modules(package: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    let mut candidates = vec![root.join("target/tools/node/node_modules")];
    candidates.extend(std::env::var_os("NODE_PATH").iter().flat_map(std::env::split_paths));
    let modules = output("node", &["--version"]).ok_or("`node --version` does not run".to_owned()).and_then(|_| {
        let why = format!("no {package}; `npm install --prefix target/tools/node {package}` brings it");
        candidates.into_iter().find(|modules| modules.join(package).exists()).ok_or(why)
    });
    found(package, modules)
}

/// gcloud, which runs a line against this Pub/Sub and prints JSON, with a configuration of its own that is gone
/// afterwards.
pub fn gcloud(pubsub: &PubSub) -> Option<impl Fn(&[&str]) -> Output> {
    let installed = output("gcloud", &["--version"]).ok_or("`gcloud --version` does not run");
    found("gcloud", installed.map_err(str::to_owned))?;
    let (host, project) = (pubsub.host().to_owned(), pubsub.project().to_owned());
    let port = host.rsplit(':').next().unwrap_or_default();
    let config = std::env::temp_dir().join(format!("gcloud-{}-{port}", std::process::id()));
    let config = Config(config);
    Some(move |line: &[&str]| {
        Command::new("gcloud")
            .args(line)
            .arg("--format=json")
            .env("CLOUDSDK_CONFIG", &config.0)
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", format!("http://{host}/"))
            .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
            .env("CLOUDSDK_CORE_PROJECT", &project)
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "true")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| panic!("gcloud: {error}"))
    })
}

struct Config(PathBuf);

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
