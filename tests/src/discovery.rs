//! Google's descriptions of its APIs (discovery documents), and requests checked against them.
//!
//! The format: <https://developers.google.com/discovery/v1/reference/apis>. The documents are those that the Python
//! package google-api-python-client carries, in `target/tools/discovery/VERSION`, fetched with pip when they are not
//! there.

mod fetch;
mod schema;

pub(crate) use schema::camel_case;

use std::sync::OnceLock;

use deploy::cloud::Api;
use http::Method;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::process::found;

/// The documents of all APIs that a deployment uses.
#[derive(Debug)]
pub(crate) struct Documents(Vec<(Api, Document)>);

/// One API.
#[derive(Debug, Default)]
pub(crate) struct Document {
    methods: Vec<Described>,
    schemas: Map<String, Value>,
    parameters: Map<String, Value>,
}

/// One method at one path.
#[derive(Debug)]
struct Described {
    id: String,
    http: String,
    path: Vec<Part>,
    parameters: Map<String, Value>,
    request: Option<String>,
}

/// A part of a path between slashes.
#[derive(Debug)]
enum Part {
    Literal(String),
    /// Any text and then this suffix, `:publish` for example.
    Parameter(String),
}

/// A request to check.
pub(crate) struct Checked<'a> {
    pub(crate) method: &'a Method,
    /// As sent, without the query.
    pub(crate) path: &'a str,
    pub(crate) query: &'a [(String, String)],
    /// Null if there is none. Enum values given as numbers become names.
    pub(crate) body: &'a mut Value,
    /// The body is no JSON: an object's data.
    pub(crate) media: bool,
}

impl Documents {
    /// Those of this machine; `None` where they are missing (see the crate's documentation).
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Documents>> = OnceLock::new();
        SHARED.get_or_init(|| found("Google discovery documents", Self::load())).as_ref()
    }

    fn load() -> Result<Self, String> {
        let folder = fetch::folder()?;
        let documents = Api::ALL.into_iter().map(|api| {
            let mut document = Document::default();
            for file in fetch::files(api) {
                let path = folder.join(format!("{file}.json"));
                let text = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
                let value = serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
                document.read(api, &value);
            }
            Ok((api, document))
        });
        Ok(Self(documents.collect::<Result<_, String>>()?))
    }

    /// The document of one API.
    ///
    /// # Panics
    ///
    /// Never: `load` reads all.
    pub(crate) fn of(&self, api: Api) -> &Document {
        let found = self.0.iter().find(|(other, _)| *other == api);
        found.map(|(_, document)| document).unwrap_or_else(|| panic!("no document for {api:?}"))
    }
}

impl Document {
    /// Adds what a version of the API describes.
    fn read(&mut self, api: Api, value: &Value) {
        let object = |value: &Value| value.as_object().cloned().unwrap_or_default();
        self.schemas.extend(object(&value["schemas"]));
        self.parameters.extend(object(&value["parameters"]));
        let base = format!("/{}", value["servicePath"].as_str().unwrap_or_default());
        self.resource(value, &base);
        if api == Api::Storage {
            self.parameters.insert("upload_id".into(), serde_json::json!({"type": "string"}));
        }
    }

    fn resource(&mut self, resource: &Value, base: &str) {
        for method in resource["methods"].as_object().into_iter().flat_map(Map::values) {
            let path = method["flatPath"].as_str().or(method["path"].as_str()).unwrap_or_default();
            let mut add = |http: &str, path: &str, request: bool| {
                self.methods.push(Described {
                    id: method["id"].as_str().unwrap_or_default().to_owned(),
                    http: http.to_owned(),
                    path: parts(path),
                    parameters: method["parameters"].as_object().cloned().unwrap_or_default(),
                    request: method["request"]["$ref"].as_str().filter(|_| request).map(str::to_owned),
                });
            };
            let http = method["httpMethod"].as_str().unwrap_or_default();
            add(http, &format!("{base}{path}"), true);
            for protocol in method["mediaUpload"]["protocols"].as_object().into_iter().flat_map(Map::values) {
                let path = protocol["path"].as_str().unwrap_or_default();
                add(http, path, true);
                // The later requests of a resumable upload.
                add("PUT", path, false);
            }
        }
        for resource in resource["resources"].as_object().into_iter().flat_map(Map::values) {
            self.resource(resource, base);
        }
    }

    /// Checks path, query and body; returns the method's id, `run.projects.locations.services.create` for example.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn check(&self, request: Checked<'_>) -> Result<&str, String> {
        let Checked { method, path, query, body, media } = request;
        let path: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut same_path = self.methods.iter().filter(|described| described.is_at(&path)).peekable();
        if same_path.peek().is_none() {
            return Err(format!("no method of this API has the path /{}", path.join("/")));
        }
        let described = same_path
            .find(|described| described.http == method.as_str())
            .ok_or_else(|| format!("no method of this API is {method} /{}", path.join("/")))?;

        for (name, value) in query {
            // How Google's own clients ask for enums as numbers; every API takes it.
            if name == "$alt" {
                continue;
            }
            let known = described.parameters.get(name).or_else(|| self.parameters.get(name));
            let schema = known.ok_or_else(|| format!("unknown query parameter `{name}` of {}", described.id))?;
            self.parameter(schema, name, value, described.request.as_deref())?;
        }
        for (name, parameter) in &described.parameters {
            let required = parameter["required"] == true
                || parameter["description"].as_str().is_some_and(|text| text.starts_with("Required."));
            let given = query.iter().any(|(other, _)| other == name);
            if required && parameter["location"] == "query" && !given {
                return Err(format!("the query parameter `{name}` of {} is missing", described.id));
            }
        }

        match &described.request {
            Some(schema) => self.body(schema, body, &described.id)?,
            // An empty message is sent as `{}` where there is a body at all.
            None if method == Method::POST && body.as_object().is_some_and(Map::is_empty) => {}
            None if !body.is_null() && !media => return Err(format!("{} takes no body", described.id)),
            None => {}
        }
        Ok(&described.id)
    }
}

impl Described {
    fn is_at(&self, path: &[&str]) -> bool {
        // A colon begins a verb, except in the names of objects.
        let verbs = !self.id.starts_with("storage.");
        path.len() == self.path.len()
            && self.path.iter().zip(path).all(|(part, segment)| match part {
                Part::Literal(literal) => literal == segment,
                Part::Parameter(suffix) => {
                    let rest = segment.strip_suffix(suffix.as_str()).filter(|rest| !rest.is_empty());
                    rest.is_some_and(|rest| !verbs || !percent_decode_str(rest).any(|byte| byte == b':'))
                }
            })
    }
}

fn parts(path: &str) -> Vec<Part> {
    let part = |text: &str| match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((_, suffix)) => Part::Parameter(suffix.to_owned()),
        None => Part::Literal(text.to_owned()),
    };
    path.trim_start_matches('/').split('/').map(part).collect()
}

#[cfg(test)]
mod tests;
