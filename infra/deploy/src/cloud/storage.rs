//! Buckets and archives.
//!
//! Objects go through the official client. Its calls for buckets speak gRPC alone, which no stand-in for Cloud Storage
//! does, so buckets go through the JSON API here: <https://cloud.google.com/storage/docs/json_api/v1>.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_storage::client::Storage as Objects;
use google_cloud_storage::streaming_source::{Seek, SizeHint, StreamingSource};
use reqwest::Method;
use serde_json::Value;

use super::calls::{Call, Calls, Update};
use super::error::{CloudError, Fault};
use super::rest::RestClient;
use super::settings::Settings;
use crate::plan::no_access_control;
use crate::resources::{Api, Archive, Context};

/// Objects up to this many bytes, which all archives are, are sent in one request: stand-ins ignore preconditions on
/// resumable uploads.
const MAX_SINGLE_REQUEST_BYTES: usize = 1 << 30;

/// Cloud Storage, for archives.
#[derive(Debug)]
pub struct Storage {
    buckets: RestClient,
    objects: Objects,
}

impl Storage {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        let buckets = RestClient::new(settings, Api::Storage)?;
        let objects = Objects::builder()
            .with_credentials(buckets.credentials().clone())
            .with_retry_policy(NeverRetry)
            .with_resumable_upload_threshold(MAX_SINGLE_REQUEST_BYTES)
            .with_endpoint(buckets.base());
        let objects = objects.build().await.map_err(|error| {
            CloudError::new(Fault::Wrong, format!("cannot make a client for {}: {error}", Api::Storage.service()))
        })?;
        Ok(Self { buckets, objects })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CloudError> {
        self.buckets.send(method, &format!("/storage/v1/b{path}"), body).await
    }

    async fn read_object(&self, name: &str) -> Result<Value, CloudError> {
        let (bucket, object) = parts(name)?;
        self.send(Method::GET, &format!("/{bucket}/o/{}", escaped(object)), None).await
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

    /// Writes the object `BUCKET/OBJECT`, which is named by its content, unless it is there: `ifGenerationMatch=0`.
    /// That it is there is no error.
    async fn upload(&self, name: &str, content: Content) -> Result<(), CloudError> {
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

/// The buckets of the project.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) storage: Arc<Storage>,
    /// Whether Cloud Storage is a stand-in on this machine.
    pub(super) local: bool,
}

impl Buckets {
    /// A bucket, whichever project it belongs to.
    pub(super) async fn read_any(&self, bucket: &str) -> Result<Value, CloudError> {
        self.storage.send(Method::GET, &format!("/{bucket}"), None).await
    }
}

impl Calls for Buckets {
    fn read<'a>(&'a self, at: &'a Context, bucket: &'a str) -> Call<'a, Value> {
        self.read_own(at, bucket).boxed()
    }

    fn create<'a>(&'a self, at: &'a Context, bucket: &'a str, body: Value) -> Call<'a, ()> {
        async move {
            let mut body = body;
            body["name"] = bucket.into();
            let answer = self.storage.send(Method::POST, &format!("?project={}", at.project), Some(&body)).await;
            match answer {
                Ok(_) => Ok(()),
                // Someone created it since it was read: the next read tells whose it is.
                Err(error) if error.fault == Fault::Conflict => Err(CloudError { fault: Fault::Exists, ..error }),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    /// A patch: what is declared is sent whole, and everything else stays.
    fn update<'a>(&'a self, _: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        async move {
            let guard = match update.found["metageneration"].as_str() {
                Some(generation) => format!("?ifMetagenerationMatch={generation}"),
                None => String::new(),
            };
            self.storage.send(Method::PATCH, &format!("/{}{guard}", update.name), Some(update.declared)).await?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, bucket: &'a str) -> Call<'a, ()> {
        async move {
            self.storage.send(Method::DELETE, &format!("/{bucket}"), None).await?;
            Ok(())
        }
        .boxed()
    }

    /// With conditions, which version 3 of policies has: <https://cloud.google.com/iam/docs/policies#versions>.
    fn read_policy<'a>(&'a self, at: &'a Context, bucket: &'a str) -> Call<'a, Value> {
        async move {
            self.read_own(at, bucket).await?;
            let path = format!("/{bucket}/iam?optionsRequestedPolicyVersion=3");
            match self.storage.send(Method::GET, &path, None).await {
                // fake-gcs-server has buckets, and answers with 404 for their policies.
                Err(error) if error.fault == Fault::Missing && self.local => {
                    self.read_any(bucket).await.map(|_| no_access_control())
                }
                answer => answer,
            }
        }
        .boxed()
    }

    fn write_policy<'a>(&'a self, _: &'a Context, bucket: &'a str, policy: Value) -> Call<'a, ()> {
        async move {
            self.storage.send(Method::PUT, &format!("/{bucket}/iam"), Some(&policy)).await?;
            Ok(())
        }
        .boxed()
    }
}

/// The archives in buckets, each as `BUCKET/OBJECT`.
#[derive(Debug)]
pub(super) struct Archives {
    pub(super) storage: Arc<Storage>,
    /// What the archive to deploy contains, if it is on this machine.
    pub(super) content: Option<Content>,
}

/// An archive is named by its content, so it never changes.
impl Calls for Archives {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        self.storage.read_object(name).boxed()
    }

    fn create<'a>(&'a self, _: &'a Context, name: &'a str, _: Value) -> Call<'a, ()> {
        async move {
            match self.content.clone() {
                Some(content) => self.storage.upload(name, content).await,
                None => Err(CloudError::new(Fault::Wrong, "it is not in the bucket, and nothing is there to upload")),
            }
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        async move {
            let (bucket, object) = parts(name)?;
            self.storage.send(Method::DELETE, &format!("/{bucket}/o/{}", escaped(object)), None).await?;
            Ok(())
        }
        .boxed()
    }
}

/// What an object is to contain.
#[derive(Clone)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    /// Is told how many of them have been sent.
    pub(super) sent: Arc<dyn Fn(u64) + Send + Sync>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.bytes.len())
    }
}

/// Content that is being sent.
struct Source {
    content: Content,
    at: u64,
}

/// Bytes of an upload that are sent at once.
const CHUNK_BYTES: usize = 256 << 10;

impl StreamingSource for Source {
    type Error = std::io::Error;

    async fn next(&mut self) -> Option<Result<Bytes, Self::Error>> {
        let Content { bytes, sent } = &self.content;
        let rest = bytes.get(self.at as usize..).filter(|rest| !rest.is_empty())?;
        let chunk = bytes.slice_ref(&rest[..rest.len().min(CHUNK_BYTES)]);
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
