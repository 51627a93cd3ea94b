//! Objects that are written once and never changed.

use bytes::Bytes;
use google_cloud_gax::error::rpc::Code;
use google_cloud_storage::Error;
use google_cloud_storage::client::Storage;

/// Writes an object unless one of this name exists: the first writer wins. `bucket` is the bucket's name alone.
///
/// Returns the generation of the object that was written, or `None` where one exists; [`generation`] reads that one's.
///
/// # Errors
/// As Cloud Storage reports them: no such bucket, no permission, or a fault that outlasted the client's retries.
pub async fn write_once(
    storage: &Storage,
    bucket: &str,
    object: &str,
    data: Bytes,
    content_type: &str,
) -> Result<Option<i64>, Error> {
    // Known beforehand, the checksum goes with the metadata; else in a third part, which fake-gcs-server takes for the
    // object.
    let checksum = crc32c::crc32c(&data);
    let written = storage
        .write_object(resource_name(bucket), object, data)
        .set_if_generation_match(0_i64)
        .with_known_crc32c(checksum)
        .set_content_type(content_type)
        .send_unbuffered()
        .await;
    match written {
        Ok(object) => Ok(Some(object.generation)),
        Err(error) if exists(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The generation of an object that exists.
///
/// # Errors
/// As Cloud Storage reports them, a missing object among them.
pub async fn generation(storage: &Storage, bucket: &str, object: &str) -> Result<i64, Error> {
    let found = storage.read_object(resource_name(bucket), object).send().await?;
    Ok(found.object().generation)
}

fn resource_name(bucket: &str) -> String {
    format!("projects/_/buckets/{bucket}")
}

/// The precondition "no such object yet" failed.
fn exists(error: &Error) -> bool {
    error.http_status_code() == Some(412)
        || error.status().is_some_and(|status| status.code == Code::FailedPrecondition)
}
