//! Project, region, endpoints and credentials, found as Google's own tools find them.
//!
//! In this order, the first that is set wins: the command line; the environment (`GOOGLE_CLOUD_PROJECT`,
//! `CLOUDSDK_CORE_PROJECT`; `CLOUDSDK_RUN_REGION`, `CLOUDSDK_COMPUTE_REGION`); gcloud's active configuration
//! (`core/project`; `run/region`, `compute/region`), whose folder `CLOUDSDK_CONFIG` may name. See
//! <https://cloud.google.com/sdk/docs/properties>.

use std::fmt;
use std::path::{Path, PathBuf};

use configparser::ini::Ini;
use google_cloud_auth::credentials::{
    Builder as ApplicationDefault, CacheableResource, Credentials, CredentialsProvider, EntityTag, anonymous,
};
use google_cloud_auth::errors::CredentialsError;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use infra::text;

use crate::resources::Api;

/// A value, and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The value itself.
    pub value: String,
    /// For people: a flag, a variable, or gcloud's configuration and its file.
    pub source: String,
}

/// Where an API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `None` is Google's own; without a slash at its end.
    pub url: Option<String>,
    /// The variable that says so.
    pub source: Option<&'static str>,
}

/// What was found, and where. Nothing is fetched before it is used.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    project: Option<Found>,
    region: Option<Found>,
    token_file: Option<PathBuf>,
    variables: Vec<(&'static str, String)>,
}

/// A setting is missing or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// No project was found anywhere.
    #[error(
        "no Google Cloud project is set\n  \
            help: pass `--project ID`, set GOOGLE_CLOUD_PROJECT, or run `gcloud config set project ID`"
    )]
    NoProject,
    /// No region was found anywhere.
    #[error(
        "no Google Cloud region is set\n  \
            help: pass `--region NAME` (europe-west1 for example), set CLOUDSDK_RUN_REGION, or run `gcloud config set \
            run/region NAME`"
    )]
    NoRegion,
    /// The value is no valid project or region.
    #[error("`{value}` ({source}) is no {what}", source = .found.source, value = .found.value)]
    Invalid {
        /// What it should be, and an example.
        what: &'static str,
        /// The value.
        found: Found,
    },
    /// No usable credentials.
    #[error(
        "no credentials for Google Cloud: {cause}\n  \
            help: run `gcloud auth application-default login`, or set CLOUDSDK_AUTH_ACCESS_TOKEN_FILE to a file with \
            an access token"
    )]
    Credentials {
        /// Why they cannot be used.
        cause: String,
    },
}

/// The variables that name another endpoint; the first that is set wins.
fn variables(api: Api) -> &'static [&'static str] {
    match api {
        Api::Run => &["CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"],
        Api::Eventarc => &["CLOUDSDK_API_ENDPOINT_OVERRIDES_EVENTARC"],
        Api::PubSub => &["PUBSUB_EMULATOR_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB"],
        Api::Storage => &["STORAGE_EMULATOR_HOST", "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE"],
        Api::Iam => &["CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM"],
        Api::ResourceManager => &["CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDRESOURCEMANAGER"],
        Api::ServiceUsage => &["CLOUDSDK_API_ENDPOINT_OVERRIDES_SERVICEUSAGE"],
        Api::SecretManager => &["CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER"],
    }
}

impl Settings {
    /// Looks in the environment of this process and in gcloud's active configuration; `project` and `region` are what
    /// the command line says.
    pub fn find(project: Option<&str>, region: Option<&str>) -> Self {
        Self::from_sources(project, region, &|name| std::env::var(name).ok())
    }

    fn from_sources(project: Option<&str>, region: Option<&str>, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let gcloud = Gcloud::read(&env);
        let first = |flag: Option<&str>, name: &str, variables: &[&str], keys: &[(&str, &str)]| {
            let flag = flag.map(|value| Found { value: value.to_owned(), source: format!("--{name}") });
            let variable = variables
                .iter()
                .find_map(|variable| Some(Found { value: env(variable)?, source: (*variable).to_owned() }));
            flag.or(variable).or_else(|| keys.iter().find_map(|(section, key)| gcloud.as_ref()?.get(section, key)))
        };
        let variables = Api::ALL.iter().flat_map(|api| variables(*api));
        Self {
            project: first(
                project,
                "project",
                &["GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"],
                &[("core", "project")],
            ),
            region: first(
                region,
                "region",
                &["CLOUDSDK_RUN_REGION", "CLOUDSDK_COMPUTE_REGION"],
                &[("run", "region"), ("compute", "region")],
            ),
            token_file: env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE").map(PathBuf::from),
            variables: variables.filter_map(|name| Some((*name, env(name)?))).collect(),
        }
    }

    /// The project's id, and where it was found.
    pub fn project_found(&self) -> Option<&Found> {
        self.project.as_ref()
    }

    /// The region, and where it was found.
    pub fn region_found(&self) -> Option<&Found> {
        self.region.as_ref()
    }

    /// The project's id.
    ///
    /// # Errors
    /// None is set, or it is no id of a project.
    pub fn project(&self) -> Result<&str, SettingsError> {
        let found = self.project.as_ref().ok_or(SettingsError::NoProject)?;
        // The ids of domain-scoped projects contain a colon:
        // https://cloud.google.com/resource-manager/docs/creating-managing-projects
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.:".contains(c);
        let valid = found.value.starts_with(|c: char| c.is_ascii_lowercase())
            && found.value.len() <= 63
            && found.value.chars().all(plain);
        let what = "project id: lower-case letters, digits and hyphens, my-project-1 for example";
        if valid { Ok(&found.value) } else { Err(SettingsError::Invalid { what, found: found.clone() }) }
    }

    /// The region.
    ///
    /// # Errors
    /// None is set, or it is no name of a region.
    pub fn region(&self) -> Result<&str, SettingsError> {
        let found = self.region.as_ref().ok_or(SettingsError::NoRegion)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = !found.value.is_empty() && found.value.len() <= 63 && found.value.chars().all(plain);
        let what = "region, europe-west1 for example";
        if valid { Ok(&found.value) } else { Err(SettingsError::Invalid { what, found: found.clone() }) }
    }

    /// Where this API is.
    pub fn endpoint(&self, api: Api) -> Endpoint {
        let set = variables(api).iter().find_map(|name| self.variables.iter().find(|(set, _)| set == name));
        let Some((name, value)) = set else { return Endpoint { url: None, source: None } };
        let value = value.trim_end_matches('/');
        let url = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
        Endpoint { url: Some(url), source: Some(name) }
    }

    /// Credentials for this API: none where it is a stand-in on this machine; else the token of
    /// `CLOUDSDK_AUTH_ACCESS_TOKEN_FILE`, or Application Default Credentials.
    ///
    /// # Errors
    /// There are none, or they cannot be read. Whether Google accepts them is not checked.
    pub fn credentials(&self, api: Api) -> Result<Credentials, SettingsError> {
        install_tls();
        if self.endpoint(api).is_local() {
            return Ok(anonymous::Builder::new().build());
        }
        if let Some(path) = &self.token_file {
            return Ok(Credentials::from(Token::read(path)?));
        }
        ApplicationDefault::default().build().map_err(|error| SettingsError::Credentials { cause: error.to_string() })
    }

    /// Where credentials come from, for people.
    pub fn credentials_source(&self) -> String {
        match &self.token_file {
            Some(path) => format!("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE ({})", path.display()),
            None => "Application Default Credentials".to_owned(),
        }
    }
}

impl Endpoint {
    /// Whether it is a stand-in on this machine, reached without credentials.
    pub fn is_local(&self) -> bool {
        let host = self.url.as_deref().and_then(|url| url.strip_prefix("http://"));
        host.is_some_and(|host| {
            ["localhost", "127.0.0.1", "[::1]"].iter().any(|local| {
                let rest = host.strip_prefix(local);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
            })
        })
    }
}

/// Makes ring the TLS provider of this process, unless there is one: neither the clients nor
/// what fetches their tokens bring one, and all of them ask for credentials first.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// gcloud's active configuration.
struct Gcloud {
    name: String,
    path: PathBuf,
    ini: Ini,
}

impl Gcloud {
    fn read(env: &dyn Fn(&str) -> Option<String>) -> Option<Self> {
        let folder = match env("CLOUDSDK_CONFIG") {
            Some(folder) => PathBuf::from(folder),
            None if cfg!(windows) => Path::new(&env("APPDATA")?).join("gcloud"),
            None => Path::new(&env("HOME")?).join(".config/gcloud"),
        };
        let active = || Some(text::read(&folder.join("active_config")).ok()?.trim().to_owned());
        let name = env("CLOUDSDK_ACTIVE_CONFIG_NAME").or_else(active).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| "default".to_owned());
        let path = folder.join("configurations").join(format!("config_{name}"));
        let mut ini = Ini::new();
        ini.read(text::read(&path).ok()?).ok()?;
        Some(Self { name, path, ini })
    }

    fn get(&self, section: &str, key: &str) -> Option<Found> {
        let value = self.ini.get(section, key).filter(|value| !value.is_empty())?;
        Some(Found { value, source: format!("gcloud configuration `{}` ({})", self.name, self.path.display()) })
    }
}

/// An access token that someone else renews, as gcloud's `--access-token-file` takes it.
struct Token {
    header: HeaderValue,
    tag: EntityTag,
}

impl Token {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let wrong =
            |cause: &dyn fmt::Display| SettingsError::Credentials { cause: format!("{}: {cause}", path.display()) };
        let text = text::read(path).map_err(|error| wrong(&error))?;
        let mut header = HeaderValue::from_str(&format!("Bearer {}", text.trim()))
            .map_err(|_| wrong(&"it holds no access token"))?;
        header.set_sensitive(true);
        Ok(Self { header, tag: EntityTag::new() })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl CredentialsProvider for Token {
    async fn headers(&self, extensions: http::Extensions) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        if extensions.get::<EntityTag>() == Some(&self.tag) {
            return Ok(CacheableResource::NotModified);
        }
        let data = HeaderMap::from_iter([(AUTHORIZATION, self.header.clone())]);
        Ok(CacheableResource::New { entity_tag: self.tag.clone(), data })
    }

    async fn universe_domain(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)], project: Option<&str>) -> Settings {
        let env = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::from_sources(project, None, &env)
    }

    #[test]
    fn the_command_line_wins_then_the_environment_then_gcloud() {
        let folder = std::env::temp_dir().join(format!("gcloud-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("configurations")).unwrap();
        std::fs::write(folder.join("active_config"), "work\n").unwrap();
        let text = "[core]\nproject = from-gcloud\naccount = me\n[compute]\nregion = europe-west4\n[run]\nregion = europe-west1\n";
        std::fs::write(folder.join("configurations/config_work"), text).unwrap();
        let config = ("CLOUDSDK_CONFIG", folder.to_str().unwrap());

        let found = settings(&[config], None);
        assert_eq!((found.project().unwrap(), found.region().unwrap()), ("from-gcloud", "europe-west1"));
        assert!(found.project_found().unwrap().source.contains("`work`"));
        let found = settings(&[config, ("CLOUDSDK_CORE_PROJECT", "core"), ("CLOUDSDK_COMPUTE_REGION", "r1")], None);
        assert_eq!((found.project().unwrap(), found.region().unwrap()), ("core", "r1"));
        let variables = [config, ("CLOUDSDK_CORE_PROJECT", "core"), ("GOOGLE_CLOUD_PROJECT", "google")];
        assert_eq!(settings(&variables, None).project().unwrap(), "google");
        let found = settings(&variables, Some("flag"));
        assert_eq!(found.project_found().unwrap(), &Found { value: "flag".to_owned(), source: "--project".to_owned() });
        // An empty variable counts as unset, a configuration of another name is another file.
        assert!(settings(&[config, ("CLOUDSDK_ACTIVE_CONFIG_NAME", "other")], None).project().is_err());
        assert_eq!(settings(&[config, ("GOOGLE_CLOUD_PROJECT", "")], None).project().unwrap(), "from-gcloud");
        // An editor's byte-order mark is no part of either file.
        std::fs::write(folder.join("active_config"), "\u{feff}work\r\n").unwrap();
        std::fs::write(folder.join("configurations/config_work"), format!("\u{feff}{text}")).unwrap();
        assert_eq!(settings(&[config], None).project().unwrap(), "from-gcloud");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn an_impossible_project_is_refused_with_its_source() {
        let error = settings(&[], Some("../x")).project().unwrap_err();
        assert!(error.to_string().contains("`../x` (--project)"), "{error}");
    }

    #[test]
    fn endpoints_on_this_machine_need_no_credentials() {
        let found = settings(
            &[
                ("PUBSUB_EMULATOR_HOST", "localhost:8085"),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB", "http://other/"),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN", "http://127.0.0.1:9/"),
                ("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAM", "http://localhost.example.com/"),
            ],
            None,
        );
        assert_eq!(found.endpoint(Api::PubSub).url.as_deref(), Some("http://localhost:8085"));
        assert_eq!(found.endpoint(Api::Run).url.as_deref(), Some("http://127.0.0.1:9"));
        assert_eq!(found.endpoint(Api::Eventarc).url, None);
        let local = Api::ALL.map(|api| found.endpoint(api).is_local());
        assert_eq!(local, [true, false, true, false, false, false, false, false]);
        assert!(found.credentials(Api::Run).is_ok());
    }
}
