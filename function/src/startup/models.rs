//! The encoder that the setting `MODEL` names.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::error::StartError;
use crate::Config;
use crate::clients::Clients;
use encoder::{Encoder, ModelError, SourceModel};

/// Largest file of a model, in bytes: a BERT of some hundred million parameters in float32.
const MAX_FILE_BYTES: usize = 2 << 30;

pub(super) async fn load(config: &Config, clients: &Arc<Clients>) -> Result<Encoder, StartError> {
    let loaded = match config.model.as_str() {
        "embedded" => Encoder::embedded(),
        uri if uri.starts_with("gs://") => fetch(uri, clients).await.and_then(quantised),
        directory => SourceModel::read(Path::new(directory)).and_then(quantised),
    };
    let encoder = loaded.map_err(|error| {
        let right = "it is `embedded`, a directory, or gs://BUCKET/PREFIX/, \
                     with model.safetensors, tokenizer.json and config.json";
        StartError::setting("MODEL", &config.model, format!("{error}; {right}"))
    })?;
    Ok(encoder.with_threads(config.threads()))
}

fn quantised(source: SourceModel) -> Result<Encoder, ModelError> {
    Encoder::from_file(&source.quantise()?)
}

/// Reads a model's files from Cloud Storage.
async fn fetch(uri: &str, clients: &Arc<Clients>) -> Result<SourceModel, ModelError> {
    let failed = |file: &str, why: String| ModelError::new(format!("{uri}: {file}"), why);
    let (bucket, prefix) = uri.trim_start_matches("gs://").split_once('/').unwrap_or((&uri[5..], ""));
    let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
    let storage = clients.storage().await.map_err(|error| failed("", error.to_string()))?;
    let mut files = HashMap::new();
    for file in SourceModel::FILES {
        let object = format!("{prefix}{slash}{file}");
        let mut reader = match storage.read_object(format!("projects/_/buckets/{bucket}"), object).send().await {
            Ok(reader) => reader,
            Err(error) if error.http_status_code() == Some(404) => continue,
            Err(error) => return Err(failed(file, error.to_string())),
        };
        let mut bytes = Vec::new();
        while let Some(part) = reader.next().await {
            let part = part.map_err(|error| failed(file, error.to_string()))?;
            if bytes.len() + part.len() > MAX_FILE_BYTES {
                return Err(failed(file, format!("larger than {MAX_FILE_BYTES} bytes")));
            }
            bytes.extend_from_slice(&part);
        }
        files.insert(file, bytes);
    }
    let name = uri.trim_end_matches('/').rsplit('/').next().unwrap_or("model");
    SourceModel::from_files(name, uri, |file| Ok(files.get(file).cloned()))
}
