//! Fetching one file: from a web server, from object storage, from this machine.

use std::{path::Path, time::Duration};

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use object_store::{
    ObjectStore, ObjectStoreExt as _, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder, path::Path as ObjectPath,
};
use tokio::{fs::File, io::AsyncWriteExt as _, time::timeout};

use super::git::shown;
use crate::backend::StartError;

/// Bytes of an archive.
const MAX_BYTES: u64 = 1 << 30;
/// How long it may take.
const LIMIT: Duration = Duration::from_secs(600);
const CONNECT: Duration = Duration::from_secs(10);

/// Puts what is at `url` into `file`.
///
/// # Errors
/// `Job`: it is not there, or too large; `Passing`.
pub(super) async fn download(url: &str, file: &Path) -> Result<(), StartError> {
    // A second installation is refused, which changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fetching = async {
        match url.split_once("://") {
            Some(("http" | "https", _)) => from_web(url, file).await,
            Some(("file", path)) => from_disk(path, file).await,
            Some(("s3" | "gs" | "az", _)) => from_storage(url, file).await,
            _ => Err(StartError::Job(format!(
                "`{}` is no address of an archive, such as s3://bucket/key, gs://…, az://…, https://… or file:///…",
                shown(url)
            ))),
        }
    };
    let fetched = timeout(LIMIT, fetching).await;
    fetched.unwrap_or_else(|_| {
        Err(StartError::Passing(format!("{} was not fetched within {LIMIT:?}", shown(url))))
    })
}

async fn from_disk(path: &str, file: &Path) -> Result<(), StartError> {
    let missing =
        |error: &std::io::Error| StartError::Job(format!("the archive {path} cannot be read: {error}"));
    let size = tokio::fs::metadata(path).await.map_err(|error| missing(&error))?.len();
    if size > MAX_BYTES {
        return Err(too_large(path));
    }
    tokio::fs::copy(path, file).await.map_err(|error| missing(&error))?;
    Ok(())
}

async fn from_web(url: &str, file: &Path) -> Result<(), StartError> {
    let passing = |cause: String| StartError::Passing(format!("{} cannot be had now: {cause}", shown(url)));
    let client = reqwest::Client::builder().connect_timeout(CONNECT).build();
    let client = client.map_err(|error| passing(causes(&error)))?;
    let response = client.get(url).send().await.map_err(|error| passing(causes(&error.without_url())))?;
    let status = response.status();
    if status.is_client_error() && !matches!(status.as_u16(), 408 | 429) {
        return Err(StartError::Job(format!("{} cannot be had: the server says {status}", shown(url))));
    }
    if !status.is_success() {
        return Err(passing(format!("the server says {status}")));
    }
    let chunks = response.bytes_stream().map_err(|error| causes(&error.without_url()));
    keep(url, chunks.boxed(), file).await
}

/// An error with what has led to it: by itself it does not say that a connection was refused.
fn causes(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn from_storage(url: &str, file: &Path) -> Result<(), StartError> {
    let wrong =
        |error: object_store::Error| StartError::Job(format!("{} cannot be reached: {error}", shown(url)));
    let store: Box<dyn ObjectStore> = if url.starts_with("s3:") {
        Box::new(AmazonS3Builder::from_env().with_url(url).build().map_err(wrong)?)
    } else if url.starts_with("gs:") {
        Box::new(GoogleCloudStorageBuilder::from_env().with_url(url).build().map_err(wrong)?)
    } else {
        Box::new(MicrosoftAzureBuilder::from_env().with_url(url).build().map_err(wrong)?)
    };
    let key = url.splitn(4, '/').nth(3).unwrap_or_default();
    let object = store.get(&ObjectPath::from(key)).await.map_err(|error| match &error {
        object_store::Error::NotFound { .. }
        | object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => {
            StartError::Job(format!("{} cannot be had: {error}", shown(url)))
        }
        _ => StartError::Passing(format!("{} cannot be had now: {error}", shown(url))),
    })?;
    keep(url, object.into_stream(), file).await
}

async fn keep<E: std::fmt::Display>(
    url: &str,
    mut chunks: impl Stream<Item = Result<impl AsRef<[u8]>, E>> + Unpin,
    file: &Path,
) -> Result<(), StartError> {
    let full =
        |error: std::io::Error| StartError::Passing(format!("{} cannot be written: {error}", file.display()));
    let mut written = File::create(file).await.map_err(full)?;
    let mut n_bytes = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| StartError::Passing(format!("{} broke off: {error}", shown(url))))?;
        n_bytes += chunk.as_ref().len() as u64;
        if n_bytes > MAX_BYTES {
            return Err(too_large(url));
        }
        written.write_all(chunk.as_ref()).await.map_err(full)?;
    }
    written.flush().await.map_err(full)
}

fn too_large(url: &str) -> StartError {
    StartError::Job(format!("the archive {} is too large: it may have {} MiB", shown(url), MAX_BYTES >> 20))
}
