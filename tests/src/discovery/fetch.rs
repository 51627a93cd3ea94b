//! Where the documents are, and how they get there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use deploy::cloud::Api;

/// The release of google-api-python-client whose documents are used.
const VERSION: &str = "2.202.0";

/// Copies the documents out of the wheel in the first argument's folder.
const UNPACK: &str = "import pathlib, sys, zipfile\n\
    folder = pathlib.Path(sys.argv[1])\n\
    wheel = zipfile.ZipFile(next(folder.glob('*.whl')))\n\
    for name in sys.argv[2:]:\n\
    \x20   text = wheel.read('googleapiclient/discovery_cache/documents/' + name + '.json')\n\
    \x20   (folder / (name + '.json')).write_bytes(text)\n";

/// The names of an API's documents, one a version.
pub(super) fn files(api: Api) -> &'static [&'static str] {
    match api {
        Api::Run => &["run.v2"],
        Api::Eventarc => &["eventarc.v1"],
        Api::PubSub => &["pubsub.v1"],
        Api::Storage => &["storage.v1"],
        Api::Iam => &["iam.v1"],
        Api::ResourceManager => &["cloudresourcemanager.v3"],
        // Service agents are in the beta alone.
        Api::ServiceUsage => &["serviceusage.v1", "serviceusage.v1beta1"],
        Api::SecretManager => &["secretmanager.v1"],
    }
}

/// The folder that holds all of them; fetches them if there is none.
pub(super) fn folder() -> Result<PathBuf, String> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tools/discovery");
    let folder = tools.join(VERSION);
    let files = || Api::ALL.into_iter().flat_map(files).map(|file| format!("{file}.json"));
    if !files().all(|file| folder.join(file).is_file()) {
        // Filled beside it and renamed: another process may be at the same.
        let filling = tools.join(format!("{VERSION}-{}", std::process::id()));
        let filled = fill(&filling).and_then(|()| {
            std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            files().try_for_each(|file| {
                std::fs::rename(filling.join(&file), folder.join(&file)).map_err(|error| format!("{file}: {error}"))
            })
        });
        let _ = std::fs::remove_dir_all(&filling);
        filled?;
    }
    Ok(folder)
}

fn fill(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let target = folder.display().to_string();
    let package = format!("google-api-python-client=={VERSION}");
    let pip =
        ["-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--dest", &target, &package];
    python(&pip)?;
    let mut unpack = vec!["-c", UNPACK, &target];
    unpack.extend(Api::ALL.into_iter().flat_map(|api| files(api).iter().copied()));
    python(&unpack)?;
    let wheels = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    for wheel in wheels.filter(|path| path.extension().is_some_and(|extension| extension == "whl")) {
        let _ = std::fs::remove_file(wheel);
    }
    Ok(())
}

fn python(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("python3").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("python3 does not run: {error}"))?;
    let why = String::from_utf8_lossy(&output.stderr);
    let why = why.trim().lines().last().unwrap_or_default();
    let what = arguments.iter().take(4).copied().collect::<Vec<_>>().join(" ");
    if output.status.success() { Ok(()) } else { Err(format!("`python3 {what} …` failed: {why}")) }
}
