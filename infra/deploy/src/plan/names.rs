//! Names of Google Cloud that mean the same: an API may answer with the project's number where its id was sent, with a
//! full name where a short one was sent, or the reverse. One form of each is compared.

use serde_json::{Map, Value};

use crate::resources::{Context, Id};

/// The project and region that names without them belong to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Home<'a> {
    project: &'a str,
    /// `None` where only a name is given: [`canonical`] has then been applied with the number before.
    number: Option<&'a str>,
    /// `None` for a resource that has no region.
    region: Option<&'a str>,
}

/// The form in which a field is compared.
#[derive(Clone, Copy)]
enum Form {
    /// `projects/P/COLLECTION/NAME`
    Full(&'static str),
    /// The name alone, where project and region are those of the resource.
    Short(&'static str),
    /// The email of a service account.
    Email,
}

/// Maps with keys that users choose: a label may be called `topic`.
const USER_KEYED: [&str; 3] = ["labels", "annotations", "attributes"];

fn form(field: &str) -> Option<Form> {
    Some(match field {
        "topic" | "deadLetterTopic" => Form::Full("topics"),
        "subscription" => Form::Full("subscriptions"),
        "service" => Form::Short("services"),
        "secret" => Form::Short("secrets"),
        "serviceAccount" | "serviceAccountEmail" => Form::Email,
        _ => return None,
    })
}

impl<'a> Home<'a> {
    /// Where a topology is deployed to.
    pub(crate) fn of(context: &'a Context) -> Self {
        Self { project: &context.project, number: Some(&context.number), region: Some(&context.region) }
    }

    /// Where a resource is, by its full name; `None` if its name has no project.
    pub(super) fn of_resource(id: &'a Id) -> Option<Self> {
        let mut parts = id.name.split('/');
        let project = parts.next().filter(|first| *first == "projects").and_then(|_| parts.next())?;
        let region = parts.next().filter(|next| *next == "locations").and_then(|_| parts.next());
        Some(Self { project, number: None, region })
    }

    fn is(self, project: &str) -> bool {
        project == self.project || Some(project) == self.number
    }

    /// A full name with the project's id instead of its number, and without the API's host.
    fn with_id(self, name: &str) -> String {
        let name = name.strip_prefix("//").and_then(|rest| rest.split_once('/')).map_or(name, |(_, path)| path);
        match name.strip_prefix("projects/").and_then(|rest| rest.split_once('/')) {
            Some((project, rest)) if self.is(project) => format!("projects/{}/{rest}", self.project),
            _ => name.to_owned(),
        }
    }

    fn written(self, form: Form, name: &str) -> String {
        let name = self.with_id(name);
        let parts: Vec<&str> = name.split('/').collect();
        match (form, parts.as_slice()) {
            // Pub/Sub writes `_deleted-topic_` for a deleted topic, which is no name.
            (Form::Full(collection), [short]) if !short.is_empty() && !short.starts_with('_') => {
                format!("projects/{}/{collection}/{short}", self.project)
            }
            (Form::Short(collection), ["projects", project, kind, short])
                if self.is(project) && *kind == collection =>
            {
                (*short).to_owned()
            }
            (Form::Short(collection), ["projects", project, "locations", region, kind, short])
                if self.is(project) && *kind == collection && self.region.is_none_or(|own| own == *region) =>
            {
                (*short).to_owned()
            }
            (Form::Email, ["projects", _, "serviceAccounts", email]) => (*email).to_owned(),
            _ => name,
        }
    }
}

/// A resource with its names in the form that is compared.
pub(crate) fn canonical(resource: &Value, home: Home<'_>) -> Value {
    let mut canonical = walk(resource, home);
    if let Some(name) = canonical.get_mut("name")
        && let Some(text) = name.as_str()
    {
        *name = home.with_id(text).into();
    }
    canonical
}

fn walk(value: &Value, home: Home<'_>) -> Value {
    match value {
        Value::Object(fields) => {
            let each = fields.iter().map(|(key, value)| {
                let value = match (form(key), value) {
                    (Some(form), Value::String(name)) => home.written(form, name).into(),
                    _ if USER_KEYED.contains(&key.as_str()) => value.clone(),
                    _ => walk(value, home),
                };
                (key.clone(), value)
            });
            Value::Object(each.collect::<Map<String, Value>>())
        }
        Value::Array(items) => items.iter().map(|item| walk(item, home)).collect(),
        other => other.clone(),
    }
}

/// A member of a policy in the form that is compared. IAM keeps emails in lower case.
pub(super) fn member(member: &str) -> String {
    match member.split_once(':') {
        Some((kind @ ("serviceAccount" | "user" | "group" | "domain"), name)) => {
            format!("{kind}:{}", name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase())
        }
        _ => member.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOME: Home<'_> = Home { project: "my-project", number: Some("123456789"), region: Some("europe-west1") };

    #[test]
    fn a_name_is_the_same_by_number_by_id_short_and_in_full() {
        let full = json!({
            "name": "projects/my-project/locations/europe-west1/triggers/t",
            "transport": {"pubsub": {"topic": "projects/my-project/topics/work"}},
            "destination": {"cloudRun": {"service": "s"}},
            "serviceAccount": "a@my-project.iam.gserviceaccount.com",
            "deadLetterPolicy": {"deadLetterTopic": "projects/my-project/topics/dead"},
        });
        assert_eq!(canonical(&full, HOME), full);
        let by_number = json!({
            "name": "projects/123456789/locations/europe-west1/triggers/t",
            "transport": {"pubsub": {"topic": "//pubsub.googleapis.com/projects/123456789/topics/work"}},
            "destination": {"cloudRun": {"service": "projects/123456789/locations/europe-west1/services/s"}},
            "serviceAccount": "projects/123456789/serviceAccounts/a@my-project.iam.gserviceaccount.com",
            "deadLetterPolicy": {"deadLetterTopic": "dead"},
        });
        assert_eq!(canonical(&by_number, HOME), full);
    }

    #[test]
    fn what_is_elsewhere_stays_another() {
        let others = json!({
            "topic": "projects/987654321/topics/work",
            "service": "projects/my-project/locations/us-central1/services/s",
            "secret": "projects/other/secrets/key",
        });
        assert_eq!(canonical(&others, HOME), others);
        let deleted = json!({"topic": "_deleted-topic_"});
        assert_eq!(canonical(&deleted, HOME), deleted);
    }

    #[test]
    fn what_users_write_is_no_name() {
        let theirs = json!({
            "labels": {"topic": "work", "service": "projects"},
            "env": [{"name": "TOPIC", "value": "projects/123456789/topics/work"}],
        });
        assert_eq!(canonical(&theirs, HOME), theirs);
    }

    #[test]
    fn a_member_is_the_same_in_capitals_and_in_full() {
        let email = "serviceAccount:a@my-project.iam.gserviceaccount.com";
        assert_eq!(member("serviceAccount:A@my-project.iam.gserviceaccount.com"), email);
        assert_eq!(member("serviceAccount:projects/1/serviceAccounts/a@my-project.iam.gserviceaccount.com"), email);
        assert_eq!(member("allUsers"), "allUsers");
    }
}
