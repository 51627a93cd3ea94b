//! Values against the schemas of a document. What is accepted is what Google's JSON parser accepts:
//! <https://protobuf.dev/programming-guides/json/>.

use serde_json::{Map, Value};

use super::Document;

/// No body of these APIs is nested deeper.
const MAX_DEPTH: usize = 64;

impl Document {
    /// Checks a body against a named schema.
    pub(super) fn body(&self, schema: &str, body: &mut Value, method: &str) -> Result<(), String> {
        if let Some(schema) = self.schemas.get(schema) {
            self.value(schema, body, "body", 0)?;
            self.masks(schema, body)?;
            required(schema, body, method)?;
        }
        Ok(())
    }

    /// Checks a query parameter; `request` is the schema that a field mask is about.
    pub(super) fn parameter(
        &self,
        schema: &Value,
        name: &str,
        value: &str,
        request: Option<&str>,
    ) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("query parameter `{name}`: `{value}` is no {what}"));
        match schema["type"].as_str() {
            Some("boolean") if !["true", "false"].contains(&value) => wrong("boolean"),
            Some("integer") if value.parse::<i64>().is_err() => wrong("integer"),
            _ if schema["format"] == "google-fieldmask" => match request.and_then(|name| self.schemas.get(name)) {
                Some(schema) => self.mask(schema, value),
                None => Ok(()),
            },
            _ => match schema["enum"].as_array() {
                Some(names) if !names.iter().any(|name| name == value) => wrong("value of its enum"),
                _ => Ok(()),
            },
        }
    }

    /// Removes the fields that only the server sets, as Google ignores them in requests.
    pub(crate) fn without_output_only(&self, schema: &str, value: &mut Value) {
        if let Some(schema) = self.schemas.get(schema) {
            self.strip(schema, value);
        }
    }

    fn strip(&self, schema: &Value, value: &mut Value) {
        let schema = self.resolve(schema);
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| schema["properties"][name]["readOnly"] != true);
                for (name, field) in fields {
                    self.strip(&schema["properties"][name], field);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.strip(&schema["items"], item)),
            _ => {}
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        schema["$ref"].as_str().and_then(|name| self.schemas.get(name)).unwrap_or(schema)
    }

    fn value(&self, schema: &Value, value: &mut Value, at: &str, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{at}: nested deeper than {MAX_DEPTH}"));
        }
        let schema = self.resolve(schema);
        let kind = schema["type"].as_str().unwrap_or("any");
        match (kind, &mut *value) {
            (_, Value::Null) | ("any", _) => Ok(()),
            ("object", Value::Object(fields)) => {
                for (name, field) in fields {
                    let at = format!("{at}.{name}");
                    let known = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
                    self.value(known.ok_or_else(|| format!("{at}: unknown field"))?, field, &at, depth + 1)?;
                }
                Ok(())
            }
            ("array", Value::Array(items)) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(&schema["items"], item, &format!("{at}[{index}]"), depth + 1)?;
                }
                Ok(())
            }
            ("string", _) if schema["enum"].is_array() => name_of_enum(schema, value, at),
            ("string", Value::String(text)) => format_of(schema, text).map_err(|what| format!("{at}: `{text}` {what}")),
            ("string", Value::Number(number)) if is_long(schema) && !number.is_f64() => Ok(()),
            ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => Ok(()),
            ("integer", Value::Number(number)) if !number.is_f64() => Ok(()),
            _ => Err(format!("{at}: {value} is no {kind}")),
        }
    }

    /// Field masks inside a body are about the field beside them: `{"topic": {…}, "updateMask": "labels"}`.
    fn masks(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let properties = schema["properties"].as_object();
        let beside = properties.into_iter().flatten().find(|(_, property)| property["$ref"].is_string());
        for (name, _) in properties.into_iter().flatten().filter(|(_, p)| p["format"] == "google-fieldmask") {
            if let (Some(mask), Some((_, beside))) = (body[name].as_str(), beside) {
                self.mask(self.resolve(beside), mask)?;
            }
        }
        Ok(())
    }

    /// Every path of a field mask names a field: <https://google.aip.dev/161>.
    fn mask(&self, schema: &Value, mask: &str) -> Result<(), String> {
        for path in mask.split(',').filter(|path| *path != "*") {
            let mut schema = schema;
            for name in path.split('.') {
                schema = self.resolve(schema);
                if schema.get("additionalProperties").is_some() {
                    break;
                }
                let field = schema["properties"].get(camel_case(name.trim()));
                schema = field.ok_or_else(|| format!("the field mask's `{path}` is no field"))?;
            }
        }
        Ok(())
    }
}

/// `max_instance_count` as `maxInstanceCount`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut upper = false;
    let mut camel = String::with_capacity(name.len());
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            _ if std::mem::take(&mut upper) => camel.push(letter.to_ascii_uppercase()),
            _ => camel.push(letter),
        }
    }
    camel
}

/// `google.api.LaunchStage`, whose names are not listed in the order of their numbers:
/// <https://github.com/googleapis/googleapis/blob/master/google/api/launch_stage.proto>
const LAUNCH_STAGES: [&str; 8] =
    ["LAUNCH_STAGE_UNSPECIFIED", "EARLY_ACCESS", "ALPHA", "BETA", "GA", "DEPRECATED", "UNIMPLEMENTED", "PRELAUNCH"];

/// Google takes enum values by name or number, and its Rust clients send numbers. The names are listed in the order of
/// their numbers, but for one enum.
fn name_of_enum(schema: &Value, value: &mut Value, at: &str) -> Result<(), String> {
    let names = schema["enum"].as_array().map_or(&[][..], Vec::as_slice);
    if let Some(number) = value.as_u64().and_then(|number| usize::try_from(number).ok()) {
        let stages = names.iter().any(|name| name == "PRELAUNCH");
        let name =
            if stages { LAUNCH_STAGES.get(number).map(|name| Value::from(*name)) } else { names.get(number).cloned() };
        *value = name.unwrap_or_else(|| value.clone());
    }
    if names.contains(value) { Ok(()) } else { Err(format!("{at}: {value} is none of {names:?}")) }
}

fn is_long(schema: &Value) -> bool {
    ["int64", "uint64"].iter().any(|format| schema["format"] == *format)
}

fn format_of(schema: &Value, text: &str) -> Result<(), &'static str> {
    let right = match schema["format"].as_str() {
        Some("int64") => text.parse::<i64>().is_ok(),
        Some("uint64") => text.parse::<u64>().is_ok(),
        Some("google-duration") => text.strip_suffix('s').is_some_and(|seconds| {
            let plain = seconds.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
            plain && seconds.parse::<f64>().is_ok()
        }),
        Some("google-datetime" | "date-time") => text.parse::<jiff::Timestamp>().is_ok(),
        _ => true,
    };
    if right { Ok(()) } else { Err("is not in the format of its field") }
}

/// Cloud Storage's document names the methods for which a field is required.
fn required(schema: &Value, body: &Value, method: &str) -> Result<(), String> {
    let properties = schema["properties"].as_object().into_iter().flat_map(Map::iter);
    for (name, property) in properties {
        let methods = property["annotations"]["required"].as_array();
        // `acl` is listed for updates, where accounts without uniform access need it; such requests go without it.
        if name != "acl" && methods.into_iter().flatten().any(|id| id == method) && body[name].is_null() {
            return Err(format!("body.{name} is required by {method}"));
        }
    }
    Ok(())
}
