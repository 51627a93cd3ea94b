//! Buckets and archives.
//!
//! Objects go through the official client. Its calls for buckets speak gRPC alone, which no stand-in for Cloud Storage does, so
//! buckets go through the JSON API here: <https://cloud.google.com/storage/docs/json_api/v1>.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage as Objects;
use google_cloud_storage::streaming_source::{Seek, SizeHint, StreamingSource};
use reqwest::Method;
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::rest::Rest;
use super::settings::{Api, Settings};
use crate::plan::Archive;

/// Objects up to this many bytes, that is all, are sent in one request: stand-ins ignore preconditions on resumable uploads.
const ONE_REQUEST: usize = 1 << 30;

/// Cloud Storage, for archives.
#[derive(Debug)]
pub struct Storage {
    buckets: Rest,
    objects: Objects,
}

impl Storage {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        let buckets = Rest::new(settings, Api::Storage)?;
        let objects = Objects::builder()
            .with_credentials(buckets.credentials().clone())
            .with_retry_policy(NeverRetry)
            .with_resumable_upload_threshold(ONE_REQUEST)
            .with_endpoint(buckets.base());
        let objects = objects.build().await.map_err(|error| {
            CloudError::new(Fault::Wrong, format!("cannot make a client for {}: {error}", Api::Storage.service()))
        })?;
        Ok(Self { buckets, objects })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CloudError> {
        self.buckets.send(method, &format!("/storage/v1/b{path}"), body).await
    }

    pub(super) async fn read(&self, bucket: &str) -> Result<Value, CloudError> {
        self.send(Method::GET, &format!("/{bucket}"), None).await
    }

    pub(super) async fn create(&self, project: &str, bucket: &str, body: &Value) -> Result<(), CloudError> {
        let mut body = body.clone();
        body["name"] = bucket.into();
        let answer = self.send(Method::POST, &format!("?project={project}"), Some(&body)).await;
        match answer {
            Ok(_) => Ok(()),
            // Someone created it since it was looked for: whose it is, the next look tells.
            Err(error) if error.fault == Fault::Conflict => Err(CloudError { fault: Fault::Exists, ..error }),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn update(&self, bucket: &str, found: &Value, body: &Value) -> Result<(), CloudError> {
        let guard = match found["metageneration"].as_str() {
            Some(generation) => format!("?ifMetagenerationMatch={generation}"),
            None => String::new(),
        };
        self.send(Method::PATCH, &format!("/{bucket}{guard}"), Some(body)).await?;
        Ok(())
    }

    pub(super) async fn delete(&self, bucket: &str) -> Result<(), CloudError> {
        self.send(Method::DELETE, &format!("/{bucket}"), None).await?;
        Ok(())
    }

    /// With conditions, which version 3 of policies has: <https://cloud.google.com/iam/docs/policies#versions>.
    pub(super) async fn read_policy(&self, bucket: &str) -> Result<Value, CloudError> {
        self.send(Method::GET, &format!("/{bucket}/iam?optionsRequestedPolicyVersion=3"), None).await
    }

    pub(super) async fn write_policy(&self, bucket: &str, policy: &Value) -> Result<(), CloudError> {
        self.send(Method::PUT, &format!("/{bucket}/iam"), Some(policy)).await?;
        Ok(())
    }

    pub(super) async fn read_object(&self, name: &str) -> Result<Value, CloudError> {
        let (bucket, object) = parts(name)?;
        self.send(Method::GET, &format!("/{bucket}/o/{}", escaped(object)), None).await
    }

    pub(super) async fn delete_object(&self, name: &str) -> Result<(), CloudError> {
        let (bucket, object) = parts(name)?;
        self.send(Method::DELETE, &format!("/{bucket}/o/{}", escaped(object)), None).await?;
        Ok(())
    }

    /// The names of all objects of a bucket, old generations left out; `None` if there is no such bucket.
    ///
    /// # Errors
    /// The call failed.
    pub async fn objects(&self, bucket: &str) -> Result<Option<Vec<String>>, CloudError> {
        let mut names = Vec::new();
        let mut page = String::new();
        loop {
            let path =
                format!("/{bucket}/o?fields=items(name),nextPageToken&maxResults=1000&pageToken={}", escaped(&page));
            let answer = match self.send(Method::GET, &path, None).await {
                Ok(answer) => answer,
                Err(error) if error.fault == Fault::Missing => return Ok(None),
                Err(error) => return Err(error),
            };
            let items = answer["items"].as_array().into_iter().flatten();
            names.extend(items.filter_map(|item| Some(item["name"].as_str()?.to_owned())));
            match answer["nextPageToken"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => page = token.to_owned(),
                None => return Ok(Some(names)),
            }
        }
    }

    /// Writes the object `BUCKET/OBJECT`, which is named by its content, unless it is there: `ifGenerationMatch=0`. That it is there
    /// is no error.
    pub(super) async fn upload(&self, name: &str, content: Content) -> Result<(), CloudError> {
        let (bucket, object) = parts(name)?;
        let checksum = crc32c::crc32c(&content.bytes);
        let source = Source { content, at: 0 };
        let request = self.objects.write_object(format!("projects/_/buckets/{bucket}"), object, source);
        let media_type =
            Archive::named(object).map_or("application/octet-stream", |archive| archive.format.media_type());
        let request = request.set_if_generation_match(0_i64).with_known_crc32c(checksum).set_content_type(media_type);
        match request.send_unbuffered().await.map_err(CloudError::from) {
            Ok(_) => Ok(()),
            // Either the precondition, that it was not there, or a passing conflict.
            Err(error) if matches!(error.fault, Fault::Conflict | Fault::Exists) => {
                self.read_object(name).await.map(drop).map_err(|_| error)
            }
            Err(error) => Err(error),
        }
    }
}

/// What an object shall hold.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    /// Is told how many of them have gone.
    pub(super) sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.bytes.len())
    }
}

/// Content on its way.
struct Source {
    content: Content,
    at: u64,
}

/// Bytes of an upload that are handed over at once.
const CHUNK: usize = 256 << 10;

impl StreamingSource for Source {
    type Error = std::io::Error;

    async fn next(&mut self) -> Option<Result<Bytes, Self::Error>> {
        let Content { bytes, sent } = &self.content;
        let rest = bytes.get(self.at as usize..).filter(|rest| !rest.is_empty())?;
        let chunk = bytes.slice_ref(&rest[..rest.len().min(CHUNK)]);
        self.at += chunk.len() as u64;
        sent(self.at);
        Some(Ok(chunk))
    }

    async fn size_hint(&self) -> Result<SizeHint, Self::Error> {
        Ok(SizeHint::with_exact(self.content.bytes.len() as u64))
    }
}

impl Seek for Source {
    type Error = std::io::Error;

    async fn seek(&mut self, offset: u64) -> Result<(), Self::Error> {
        self.at = offset;
        Ok(())
    }
}

fn parts(name: &str) -> Result<(&str, &str), CloudError> {
    name.split_once('/').ok_or_else(|| CloudError::new(Fault::Wrong, format!("`{name}` names no object")))
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
