//! A resource's body in Terraform's terms, by the table of its kind.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::resources::export::{ARCHIVE_BUCKET, Block, COMMON, Field, PROJECT, REGION};
use crate::resources::{Context, Id, Kind, Resource};

/// Pub/Sub's service agent, as Terraform refers to it.
pub(super) const AGENT: &str = "${google_project_service_identity.pubsub.member}";

/// Fields whose texts, and keys, are the user's own: a label may be called `topic`.
const USER_TEXTS: [&str; 2] = ["labels", "value"];

/// The names of the declared resources within the file, and how they refer to one another.
pub(super) struct Names {
    /// By type and short name.
    local: BTreeMap<(&'static str, String), String>,
    /// The reference that a text is written as, if it names a declared resource.
    references: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn new(declared: &[Resource], context: &Context) -> Self {
        let mut names = Self { local: BTreeMap::new(), references: BTreeMap::new() };
        for Resource { id, .. } in declared {
            let Some(block) = id.kind.block() else { continue };
            let mut name = identifier((block.name)(id.short()));
            while names.local.iter().any(|((other, _), taken)| *other == block.resource && *taken == name) {
                name.push('_');
            }
            names.local.insert((block.resource, id.short().to_owned()), name);
        }
        for Resource { id, .. } in declared {
            let (name, attribute) = match id.kind {
                Kind::Topic => (id.name.clone(), "id"),
                Kind::ServiceAccount => (id.short().to_owned(), "email"),
                Kind::Service => (context.url(id.short()), "uri"),
                Kind::Bucket => (id.name.clone(), "name"),
                Kind::Archive => (context.object(), "name"),
                _ => continue,
            };
            let reference = names.attribute(id, attribute);
            match id.kind {
                Kind::ServiceAccount => {
                    let member = (format!("serviceAccount:{name}"), format!("serviceAccount:{reference}"));
                    names.references.extend([member]);
                }
                Kind::Service => names.references.extend([(format!("{name}/"), format!("{reference}/"))]),
                _ => {}
            }
            names.references.insert(name, reference);
        }
        names
    }

    /// The name of a declared resource within the file; empty if it is not declared.
    pub(super) fn local(&self, id: &Id) -> &str {
        let name = id.kind.block().and_then(|block| self.local.get(&(block.resource, id.short().to_owned())));
        name.map_or("", String::as_str)
    }

    /// Whether the file has this resource.
    pub(super) fn has(&self, id: &Id) -> bool {
        !self.local(id).is_empty()
    }

    /// A reference to an attribute of a declared resource.
    pub(super) fn attribute(&self, id: &Id, attribute: &str) -> String {
        let kind = id.kind.block().map_or("", |block| block.resource);
        format!("${{{kind}.{}.{attribute}}}", self.local(id))
    }

    /// A text that may name a declared resource.
    pub(super) fn text(&self, text: &str) -> String {
        self.references.get(text).cloned().unwrap_or_else(|| plain(text))
    }

    /// The arguments of a resource.
    pub(super) fn render(&self, resource: &Resource, block: &Block) -> Map<String, Value> {
        let mut arguments = Map::new();
        if let Value::Object(own) = with_variables((block.arguments)(resource)) {
            arguments.extend(own);
        }
        for body in [&resource.creation, &resource.body] {
            arguments.extend(self.fields(resource, block, body, ""));
        }
        arguments
    }

    fn fields(&self, resource: &Resource, block: &Block, body: &Value, path: &str) -> Map<String, Value> {
        let mut arguments = Map::new();
        for (key, value) in body.as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let row = block.fields.iter().chain(COMMON).find(|(field, _)| *field == path);
            let (name, value) = match row.map(|(_, field)| field) {
                None => (snake_case(key), self.value(resource, block, value, &path)),
                Some(Field::Named(name)) => ((*name).to_owned(), self.value(resource, block, value, &path)),
                Some(Field::Flattened) => {
                    arguments.extend(self.fields(resource, block, value, &path));
                    continue;
                }
                Some(Field::Reference(kind, attribute)) => {
                    let id = Id::new(*kind, value.as_str().unwrap_or_default());
                    (snake_case(key), self.attribute(&id, attribute).into())
                }
                Some(Field::Written(written)) => match written(value, resource) {
                    Value::Null => continue,
                    value => (snake_case(key), self.value(resource, block, &value, &path)),
                },
                Some(Field::Omitted) => continue,
            };
            arguments.insert(name, value);
        }
        arguments
    }

    fn value(&self, resource: &Resource, block: &Block, value: &Value, path: &str) -> Value {
        let free = USER_TEXTS.contains(&path.rsplit('.').next().unwrap_or(path));
        match value {
            Value::String(text) if free => plain(text).into(),
            Value::Object(fields) if free => {
                let fields = fields.iter().map(|(key, value)| (key.clone(), self.value(resource, block, value, path)));
                Value::Object(fields.collect())
            }
            Value::String(text) => self.text(text).into(),
            Value::Object(_) => Value::Object(self.fields(resource, block, value, path)),
            Value::Array(items) => items.iter().map(|item| self.value(resource, block, item, path)).collect(),
            other => other.clone(),
        }
    }
}

/// A name as Terraform takes it.
pub(super) fn identifier(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(allowed).collect()
}

/// Text in which Terraform sees no template: <https://developer.hashicorp.com/terraform/language/expressions/strings>.
pub(super) fn literal(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// Text of the declaration, with variables where the project and its region stand.
pub(super) fn plain(text: &str) -> String {
    variables(&literal(text))
}

fn variables(text: &str) -> String {
    let text = text.replace(PROJECT, "${var.project}").replace(REGION, "${var.region}");
    text.replace(ARCHIVE_BUCKET, "${var.archive_bucket}")
}

fn with_variables(value: Value) -> Value {
    match value {
        Value::String(text) => variables(&text).into(),
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, with_variables(value))).collect(),
        Value::Array(items) => items.into_iter().map(with_variables).collect(),
        other => other,
    }
}

/// `messageRetentionDuration` as `message_retention_duration`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
