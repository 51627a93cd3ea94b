//! What fake-gcs-server lacks: IAM policies of buckets, and what a bucket has beside its objects.
//! <https://cloud.google.com/storage/docs/json_api/v1/buckets>

use bytes::Bytes;
use http::{Method, header};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::json::{default, etag, now, text};
use super::policy::NotSet;
use super::state::{PROJECT_NUMBER, State};

/// The number of the project that owns foreign buckets.
pub(super) const FOREIGN_NUMBER: &str = "999999999999";

impl State {
    /// Answers a request about buckets; `None` for one about objects, which fake-gcs-server answers.
    pub(super) async fn storage(&mut self, call: &Call) -> Option<Answer> {
        if let Err(failure) = self.upload_condition(call).await {
            return Some(Err(failure));
        }
        let path = call.path.strip_prefix("/storage/v1/")?;
        let segments: Vec<String> =
            path.split('/').map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect();
        match segments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["b"] if call.method == Method::POST => Some(self.create_bucket(call).await),
            ["b"] => Some(self.list_buckets(call).await),
            ["b", bucket] => Some(self.bucket(call, bucket).await),
            ["b", bucket, "iam"] => Some(self.bucket_policy(call, bucket).await),
            ["b", bucket, "iam", "testPermissions"] => {
                let asked = call.query.iter().filter(|(name, _)| name == "permissions");
                let asked = asked.map(|(_, permission)| json!(permission)).collect();
                Some(self.found_bucket(bucket).await.map(|_| self.permissions(Some(&asked))))
            }
            _ => None,
        }
    }

    async fn create_bucket(&mut self, call: &Call) -> Answer {
        let name = text(&call.body, "name");
        // Only what it keeps.
        self.ask(Method::POST, &format!("/storage/v1/b?project={}", self.project), &json!({"name": name})).await?;
        let mut bucket = call.body.clone();
        complete(&mut bucket);
        let now = now();
        bucket["timeCreated"] = json!(now);
        bucket["updated"] = json!(now);
        self.buckets.insert(name.to_owned(), bucket.clone());
        Ok(bucket)
    }

    async fn list_buckets(&mut self, call: &Call) -> Answer {
        let listed = self.ask(Method::GET, &format!("/storage/v1/b?project={}", self.project), &Value::Null).await?;
        let prefix = call.query("prefix").unwrap_or_default();
        let mut items = Vec::new();
        for item in listed["items"].as_array().into_iter().flatten() {
            let name = text(item, "name");
            if name.starts_with(prefix) {
                items.push(self.kept(name, item));
            }
        }
        super::json::page(call, "items", items)
    }

    async fn bucket(&mut self, call: &Call, name: &str) -> Answer {
        let mut bucket = self.found_bucket(name).await?;
        let conditions = [("ifMetagenerationMatch", true), ("ifMetagenerationNotMatch", false)];
        for (parameter, same) in conditions {
            if call.query(parameter).is_some_and(|given| (bucket["metageneration"] == given) != same) {
                return Err(condition_not_met());
            }
        }
        match call.method {
            Method::GET => Ok(bucket),
            Method::PATCH | Method::PUT => {
                for fixed in ["location", "name"] {
                    let given = &call.body[fixed];
                    let same = given.as_str().is_some_and(|given| text(&bucket, fixed).eq_ignore_ascii_case(given));
                    if !given.is_null() && !same {
                        return Err(Failure::invalid(format!("The {fixed} of a bucket cannot be changed.")));
                    }
                }
                let metageneration = text(&bucket, "metageneration").parse::<u64>().unwrap_or_default() + 1;
                if call.method == Method::PUT {
                    let fields = bucket.as_object_mut().into_iter();
                    const KEPT: [&str; 6] =
                        ["name", "location", "locationType", "timeCreated", "metageneration", "storageClass"];
                    fields.for_each(|fields| fields.retain(|field, _| KEPT.contains(&field.as_str())));
                }
                merge(&call.body, &mut bucket);
                complete(&mut bucket);
                bucket["metageneration"] = json!(metageneration.to_string());
                bucket["etag"] = json!(etag());
                bucket["updated"] = json!(now());
                self.buckets.insert(name.to_owned(), bucket.clone());
                Ok(bucket)
            }
            Method::DELETE => {
                let objects = self.ask(Method::GET, &format!("{}/o?maxResults=1", path_of(name)), &Value::Null).await?;
                if objects["items"].as_array().is_some_and(|items| !items.is_empty()) {
                    return Err(Failure::new(409, "CONFLICT", "The bucket you tried to delete is not empty."));
                }
                self.ask(Method::DELETE, &path_of(name), &Value::Null).await?;
                self.buckets.remove(name);
                self.policies.remove(&format!("b/{name}"));
                Ok(Value::Null)
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    async fn bucket_policy(&mut self, call: &Call, bucket: &str) -> Answer {
        self.found_bucket(bucket).await?;
        let resource = format!("b/{bucket}");
        if call.method == Method::PUT {
            self.set_policy(&resource, &call.body).map_err(|failure| match failure {
                NotSet::Stale => condition_not_met(),
                NotSet::Refused(failure) => failure,
            })?;
        }
        let asked = call.query("optionsRequestedPolicyVersion").and_then(|version| version.parse().ok());
        let mut policy = self.policy_as(&resource, asked.or((call.method == Method::PUT).then_some(3)));
        policy["kind"] = json!("storage#policy");
        policy["resourceId"] = json!(format!("projects/_/buckets/{bucket}"));
        Ok(policy)
    }

    /// Creates a bucket of another project; the caller may do anything with it, or nothing.
    pub(super) async fn create_foreign_bucket(&mut self, name: &str, open: bool) -> Result<(), Failure> {
        let path = format!("/storage/v1/b?project={}", self.project);
        self.ask(Method::POST, &path, &json!({"name": name})).await?;
        let mut bucket = json!({"name": name, "projectNumber": FOREIGN_NUMBER});
        complete(&mut bucket);
        self.buckets.insert(name.to_owned(), bucket);
        if !open {
            self.closed.insert(name.to_owned());
        }
        Ok(())
    }

    pub(super) fn give_bucket_away(&mut self, name: &str) {
        if let Some(bucket) = self.buckets.get_mut(name) {
            bucket["projectNumber"] = json!(FOREIGN_NUMBER);
        }
    }

    async fn found_bucket(&mut self, name: &str) -> Answer {
        if self.closed.contains(name) {
            return Err(Failure::denied(format!(
                "deployer@example.com does not have storage.buckets.get access to the Google Cloud Storage bucket. Permission 'storage.buckets.get' denied on resource '{name}' (or it may not exist)."
            )));
        }
        let found = self.ask(Method::GET, &path_of(name), &Value::Null).await?;
        Ok(self.kept(name, &found))
    }

    /// A bucket as it is read; one that was made behind the proxy has the defaults.
    fn kept(&mut self, name: &str, found: &Value) -> Value {
        let kept = self.buckets.entry(name.to_owned()).or_insert_with(|| {
            let mut bucket =
                json!({"name": name, "timeCreated": found["timeCreated"], "updated": found["timeCreated"]});
            complete(&mut bucket);
            bucket
        });
        kept.clone()
    }

    /// The object's generation, `0` if there is none.
    pub(super) async fn generation(&self, bucket: &str, object: &str) -> String {
        let object = utf8_percent_encode(object, NON_ALPHANUMERIC);
        let path = format!("{}/o/{object}", path_of(bucket));
        let found = self.ask(Method::GET, &path, &Value::Null).await;
        found.ok().and_then(|found| Some(found["generation"].as_str()?.to_owned())).unwrap_or_else(|| "0".to_owned())
    }

    /// The object's data, empty if there is none.
    pub(super) async fn data(&self, bucket: &str, object: &str) -> Bytes {
        let object = utf8_percent_encode(object, NON_ALPHANUMERIC);
        let data = self.upstream.storage_data(&format!("{}/o/{object}?alt=media", path_of(bucket))).await;
        data.ok().flatten().unwrap_or_default()
    }

    /// fake-gcs-server looks at `ifGenerationMatch` in multipart uploads alone.
    async fn upload_condition(&self, call: &Call) -> Result<(), Failure> {
        let wanted = call.query("ifGenerationMatch").filter(|_| call.method == Method::POST);
        let bucket = call.path.strip_prefix("/upload/storage/v1/b/").and_then(|rest| rest.split('/').next());
        let (Some(wanted), Some(bucket)) = (wanted, bucket) else { return Ok(()) };
        let name = call.query("name").unwrap_or_else(|| text(&call.body, "name"));
        if self.generation(bucket, name).await == wanted { Ok(()) } else { Err(condition_not_met()) }
    }

    async fn ask(&self, method: Method, path: &str, body: &Value) -> Answer {
        let asked = self.upstream.ask_storage(method, path, body).await;
        match asked.map_err(|broken| Failure::internal(broken.to_string()))? {
            (200..300, body) => Ok(body),
            (code, body) => {
                let message = text(&body["error"], "message");
                Err(Failure::new(code, "", if message.is_empty() { path } else { message }))
            }
        }
    }
}

fn condition_not_met() -> Failure {
    Failure::new(412, "FAILED_PRECONDITION", "At least one of the pre-conditions you specified did not hold.")
}

fn path_of(bucket: &str) -> String {
    format!("/storage/v1/b/{}", utf8_percent_encode(bucket, NON_ALPHANUMERIC))
}

/// What Cloud Storage fills in.
fn complete(bucket: &mut Value) {
    let Some(fields) = bucket.as_object_mut() else { return };
    let location = fields.get("location").and_then(Value::as_str).unwrap_or("US").to_uppercase();
    let kind = if ["US", "EU", "ASIA"].contains(&location.as_str()) { "multi-region" } else { "region" };
    fields.insert("location".into(), json!(location));
    default(fields, "kind", json!("storage#bucket"));
    default(fields, "locationType", json!(kind));
    default(fields, "storageClass", json!("STANDARD"));
    default(fields, "projectNumber", json!(PROJECT_NUMBER));
    default(fields, "metageneration", json!("1"));
    default(fields, "generation", json!("1"));
    default(fields, "etag", json!(etag()));
    let name = fields.get("name").cloned().unwrap_or_default();
    default(fields, "id", name);
    default(fields, "iamConfiguration", json!({}));
    default(fields, "softDeletePolicy", json!({"retentionDurationSeconds": "604800"}));
    if let Some(iam) = fields["iamConfiguration"].as_object_mut() {
        default(iam, "publicAccessPrevention", json!("inherited"));
        default(iam, "uniformBucketLevelAccess", json!({"enabled": false}));
        let uniform = iam["uniformBucketLevelAccess"].clone();
        default(iam, "bucketPolicyOnly", uniform);
    }
}

/// <https://www.rfc-editor.org/rfc/rfc7396>, as Cloud Storage patches.
fn merge(patch: &Value, target: &mut Value) {
    let Some(fields) = patch.as_object() else { return };
    for (name, value) in fields {
        match value {
            Value::Null => {
                if let Some(target) = target.as_object_mut() {
                    target.remove(name);
                }
            }
            Value::Object(_) => {
                if !target[name].is_object() {
                    target[name] = json!({});
                }
                merge(value, &mut target[name]);
            }
            value => target[name] = value.clone(),
        }
    }
}

/// Whether the body is an object's data, and no JSON.
pub(super) fn is_media(call: &Call) -> bool {
    call.path.contains("/upload/") && (call.method == Method::PUT || call.query("uploadType") == Some("media"))
}

/// The JSON in a body: all of it, or an upload's first part. `None` if there is none.
pub(super) fn json_part(call: &Call) -> Option<Result<Value, String>> {
    if is_media(call) || call.bytes.is_empty() {
        return None;
    }
    let multipart = call.path.contains("/upload/") && call.query("uploadType") == Some("multipart");
    let bytes = if multipart { first_part(call) } else { Some(call.bytes.clone()) };
    let bytes = bytes.ok_or_else(|| "no part of JSON in multipart/related".to_owned());
    Some(bytes.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| format!("no JSON: {error}"))))
}

/// What is between the first part's headers and the next boundary: <https://www.rfc-editor.org/rfc/rfc2387>.
fn first_part(call: &Call) -> Option<Bytes> {
    let kind = call.headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let boundary = kind.split("boundary=").nth(1)?.split(';').next()?.trim_matches(['"', ' ', '\'']);
    let boundary = format!("--{boundary}");
    let find = |text: &str, from: usize| {
        let found = call.bytes.get(from..)?.windows(text.len()).position(|window| window == text.as_bytes());
        found.map(|at| from + at)
    };
    let start = find("\r\n\r\n", find(&boundary, 0)?)? + 4;
    Some(call.bytes.slice(start..find(&boundary, start)?))
}
