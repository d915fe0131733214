use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use http::Method;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, RetryConfig,
    aws::AmazonS3Builder, azure::MicrosoftAzureBuilder, buffered::BufWriter, gcp::GoogleCloudStorageBuilder,
    local::LocalFileSystem, memory::InMemory, path::Path, signer::Signer,
};
use tidegate_model::{Namespace, ObjectId, Timestamp};

use crate::{ObjectStorageConfig, PayloadError};

/// Bytes that are written in one request; what is larger goes in parts of this size.
const PART_SIZE: usize = 8 << 20;
/// Parts of one object on their way at once.
const MAX_PARTS_UNDER_WAY: usize = 2;
/// How long a request of ours may be repeated before its caller is told that object storage does not answer.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Unfinished writes of one object that a directory may have kept from processes that died.
const MAX_STAGED: u32 = 8;

/// What kind of place a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Directory,
    Memory,
    S3,
    GoogleCloud,
    Azure,
}

impl Place {
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        Ok(split(url)?.0)
    }
}

fn split(url: &str) -> Result<(Place, Path), OpenError> {
    let fault = || OpenError::Url { url: url.to_owned() };
    let parsed = url.parse().map_err(|_| fault())?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&parsed).map_err(|_| fault())?;
    let place = match scheme {
        ObjectStoreScheme::Local => Place::Directory,
        ObjectStoreScheme::Memory => Place::Memory,
        ObjectStoreScheme::AmazonS3 => Place::S3,
        ObjectStoreScheme::GoogleCloudStorage => Place::GoogleCloud,
        ObjectStoreScheme::MicrosoftAzure => Place::Azure,
        _ => return Err(fault()),
    };
    Ok((place, prefix))
}

/// Why object storage cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no place that is known.
    #[error(
        "`{url}` names no object storage: write file:///directory, s3://bucket/prefix, gs://bucket/prefix or \
         az://container/prefix"
    )]
    Url {
        /// The URL.
        url: String,
    },
    /// The directory cannot be made.
    #[error(
        "the directory {path} cannot be used for payloads ({cause}): name another one in object_storage.url, or mend \
         the rights of this one"
    )]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        cause: String,
    },
    /// The provider's settings do not fit together.
    #[error("object storage at `{url}` is not set up well ({cause}): mend the section object_storage")]
    Settings {
        /// The URL.
        url: String,
        /// What is wrong.
        cause: String,
    },
}

/// A request that object storage grants to whoever has its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedRequest {
    /// `PUT` or `GET`.
    pub method: &'static str,
    /// Where to send it.
    pub url: String,
    /// To be sent as they are.
    pub headers: Vec<(&'static str, String)>,
    /// When it is refused.
    pub expires_at: Timestamp,
}

/// Bytes by key. It knows nothing of rows and checks nothing.
#[derive(Clone)]
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    signer: Option<Arc<dyn Signer>>,
    /// What a presigned PUT has to say besides.
    put_headers: &'static [(&'static str, &'static str)],
    prefix: Path,
    /// The directory, where it is one.
    root: Option<PathBuf>,
}

impl ObjectStorage {
    /// Opens what the configuration names; makes no request yet.
    ///
    /// # Errors
    /// The URL or its settings are wrong, or the directory cannot be made.
    pub fn open(config: &ObjectStorageConfig) -> Result<Self, OpenError> {
        let (place, prefix) = split(&config.url)?;
        // A second installation is refused, which changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let fault = |error: object_store::Error| OpenError::Settings {
            url: config.url.clone(),
            cause: error.to_string(),
        };
        Ok(match place {
            Place::Directory => return Self::directory(&PathBuf::from(format!("/{prefix}"))),
            Place::Memory => return Ok(Self::in_memory()),
            Place::S3 => Self::signing(Arc::new(s3(config).build().map_err(fault)?), prefix),
            Place::GoogleCloud => {
                Self::signing(Arc::new(google_cloud(config).build().map_err(fault)?), prefix)
            }
            Place::Azure => Self {
                put_headers: &[("x-ms-blob-type", "BlockBlob")],
                ..Self::signing(Arc::new(azure(config).build().map_err(fault)?), prefix)
            },
        })
    }

    /// A directory, which is made where it is missing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn directory(root: &std::path::Path) -> Result<Self, OpenError> {
        let fault = |cause: String| OpenError::Directory { path: root.to_owned(), cause };
        std::fs::create_dir_all(root).map_err(|error| fault(error.to_string()))?;
        let store = LocalFileSystem::new_with_prefix(root).map_err(|error| fault(error.to_string()))?;
        // A run that is told to exist may refer to the object (P1).
        Ok(Self { root: Some(root.to_owned()), ..Self::plain(Arc::new(store.with_fsync(true))) })
    }

    /// Memory of this process: gone with it.
    pub fn in_memory() -> Self {
        Self::plain(Arc::new(InMemory::new()))
    }

    fn plain(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, signer: None, put_headers: &[], prefix: Path::default(), root: None }
    }

    fn signing<S: ObjectStore + Signer>(store: Arc<S>, prefix: Path) -> Self {
        Self { signer: Some(Arc::clone(&store) as Arc<dyn Signer>), prefix, ..Self::plain(store) }
    }

    /// The key of an object, made here alone: of its namespace, its day and its id.
    pub fn key(namespace: &Namespace, id: ObjectId) -> String {
        // The parts are escaped: a namespace may be called `..`.
        let day: String = id.created_at().to_string().chars().take(10).collect();
        Path::from_iter([namespace.as_str(), &day, &id.to_string()]).to_string()
    }

    fn path(&self, key: &str) -> Result<Path, PayloadError> {
        let key = Path::parse(key).map_err(|error| storage_error(key, error.into()))?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }

    pub(crate) fn writer(&self, key: &str) -> Result<BufWriter, PayloadError> {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), self.path(key)?, PART_SIZE);
        Ok(writer.with_max_concurrency(MAX_PARTS_UNDER_WAY))
    }

    /// How many bytes the object has; `None`: there is none.
    pub(crate) async fn size(&self, key: &str) -> Result<Option<u64>, PayloadError> {
        match self.store.head(&self.path(key)?).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(storage_error(key, error)),
        }
    }

    /// The bytes of the object; `None`: there is none.
    pub(crate) async fn read(
        &self,
        key: &str,
    ) -> Result<Option<BoxStream<'static, object_store::Result<bytes::Bytes>>>, PayloadError> {
        match self.store.get(&self.path(key)?).await {
            Ok(found) => Ok(Some(found.into_stream().boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(storage_error(key, error)),
        }
    }

    /// Deletes the object and what unfinished writes have left of it. One that is not there is no error.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), PayloadError> {
        let path = self.path(key)?;
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(storage_error(key, error)),
        }
        if let Some(root) = &self.root {
            for n in 1..=MAX_STAGED {
                let _ = tokio::fs::remove_file(root.join(format!("{path}#{n}"))).await; // mostly there is none
            }
        }
        Ok(())
    }

    /// A request that the backend grants to whoever has it; `None`: this one cannot.
    pub(crate) async fn presign(
        &self,
        method: Method,
        key: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Result<Option<PresignedRequest>, PayloadError> {
        let Some(signer) = &self.signer else { return Ok(None) };
        let is_put = method == Method::PUT;
        let url = signer
            .signed_url(method, &self.path(key)?, lifetime)
            .await
            .map_err(|error| storage_error(key, error))?;
        let headers = if is_put { self.put_headers } else { &[] };
        Ok(Some(PresignedRequest {
            method: if is_put { "PUT" } else { "GET" },
            url: url.to_string(),
            headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
            expires_at: now + lifetime,
        }))
    }
}

impl std::fmt::Debug for ObjectStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.store, self.prefix)
    }
}

pub(crate) fn storage_error(key: &str, error: object_store::Error) -> PayloadError {
    tracing::warn!(object.key = key, %error, "object storage failed");
    PayloadError::Storage(Box::new(error))
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: RETRY_TIMEOUT, backoff: BackoffConfig::default() }
}

fn client_options(config: &ObjectStorageConfig) -> ClientOptions {
    ClientOptions::new().with_allow_http(config.allow_http)
}

fn s3(config: &ObjectStorageConfig) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::from_env()
        .with_url(&config.url)
        .with_retry(retries())
        .with_client_options(client_options(config));
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(&config.endpoint);
    }
    if !config.region.is_empty() {
        builder = builder.with_region(&config.region);
    }
    if !config.access_key_id.is_empty() {
        builder = builder
            .with_access_key_id(&config.access_key_id)
            .with_secret_access_key(config.secret_access_key.expose());
    }
    builder
}

fn google_cloud(config: &ObjectStorageConfig) -> GoogleCloudStorageBuilder {
    let builder = GoogleCloudStorageBuilder::from_env()
        .with_url(&config.url)
        .with_retry(retries())
        .with_client_options(client_options(config));
    if config.endpoint.is_empty() { builder } else { builder.with_base_url(&config.endpoint) }
}

fn azure(config: &ObjectStorageConfig) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::from_env()
        .with_url(&config.url)
        .with_retry(retries())
        .with_client_options(client_options(config));
    if !config.endpoint.is_empty() {
        builder = builder.with_endpoint(config.endpoint.clone());
    }
    if !config.access_key_id.is_empty() {
        builder =
            builder.with_account(&config.access_key_id).with_access_key(config.secret_access_key.expose());
    }
    builder
}
