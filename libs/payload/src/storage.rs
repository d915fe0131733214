use std::{path::PathBuf, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use http::{HeaderName, HeaderValue, Method};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt as _, ObjectStoreScheme, RetryConfig,
    aws::AmazonS3Builder,
    azure::MicrosoftAzureBuilder,
    buffered::BufWriter,
    gcp::GoogleCloudStorageBuilder,
    local::LocalFileSystem,
    memory::InMemory,
    path::Path,
    signer::{SignedUrlOptions, Signer},
};
use tidegate_model::{Namespace, ObjectId, ObjectRef, Timestamp};
use tokio::time::timeout;

use crate::{ObjectStorageConfig, PayloadError, writer::Writer};

/// Bytes that are written in one request; what is larger goes in parts of this size.
const PART_SIZE: usize = 8 << 20;
/// Parts of one object on their way at once.
const MAX_PARTS_UNDER_WAY: usize = 2;
/// Bytes that this process holds of an object while it writes it, at most: a part that is filled, and those on their way.
pub(crate) const MAX_HELD: u64 = ((MAX_PARTS_UNDER_WAY + 1) * PART_SIZE) as u64;
/// How long a request of ours may be repeated before its caller is told that object storage does not answer.
const RETRY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long object storage may be silent while something is asked of it. The whole of a request has no bound: an object
/// is read as fast as who asked for it takes it.
const SILENCE: Duration = Duration::from_secs(60);
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

/// By what a presigned PUT is held to the bytes that were announced. In any case they are checked afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HeldBy {
    /// S3: their SHA-256.
    Checksum,
    /// Google Cloud Storage: their number.
    Size,
    /// Azure: its signatures bear no headers.
    Nothing,
}

impl HeldBy {
    /// What is to be sent with the bytes, and is signed but for Azure.
    fn headers(self, object: &ObjectRef) -> Vec<(&'static str, String)> {
        vec![match self {
            Self::Checksum => ("x-amz-checksum-sha256", base64(&object.sha256)),
            Self::Size => ("x-goog-content-length-range", format!("{0},{0}", object.size)),
            Self::Nothing => ("x-ms-blob-type", "BlockBlob".to_owned()),
        }]
    }
}

/// Bytes by key. It knows nothing of rows and checks nothing.
#[derive(Clone)]
pub struct ObjectStorage {
    store: Arc<dyn ObjectStore>,
    signer: Option<Arc<dyn Signer>>,
    held_by: HeldBy,
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
            Place::S3 => {
                Self::signing(Arc::new(s3(config).build().map_err(fault)?), prefix, HeldBy::Checksum)
            }
            Place::GoogleCloud => {
                Self::signing(Arc::new(google_cloud(config).build().map_err(fault)?), prefix, HeldBy::Size)
            }
            Place::Azure => {
                Self::signing(Arc::new(azure(config).build().map_err(fault)?), prefix, HeldBy::Nothing)
            }
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
        Self { store, signer: None, held_by: HeldBy::Nothing, prefix: Path::default(), root: None }
    }

    fn signing<S: ObjectStore + Signer>(store: Arc<S>, prefix: Path, held_by: HeldBy) -> Self {
        Self { signer: Some(Arc::clone(&store) as Arc<dyn Signer>), held_by, prefix, ..Self::plain(store) }
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

    pub(crate) fn writer(&self, key: &str) -> Result<Writer, PayloadError> {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), self.path(key)?, PART_SIZE);
        Ok(Writer::new(key, writer.with_max_concurrency(MAX_PARTS_UNDER_WAY)))
    }

    /// How many bytes the object has; `None`: there is none.
    pub(crate) async fn size(&self, key: &str) -> Result<Option<u64>, PayloadError> {
        let path = self.path(key)?;
        match answer(self.store.head(&path)).await {
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
        let path = self.path(key)?;
        match answer(self.store.get(&path)).await {
            Ok(found) => Ok(Some(found.into_stream().boxed())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(storage_error(key, error)),
        }
    }

    /// Deletes the object and what unfinished writes have left of it. One that is not there is no error.
    pub(crate) async fn delete(&self, key: &str) -> Result<(), PayloadError> {
        let path = self.path(key)?;
        self.delete_one(&path, key).await?;
        if self.signer.is_some() {
            self.delete_staged(key).await?;
        }
        if let Some(root) = &self.root {
            for n in 1..=MAX_STAGED {
                let _ = tokio::fs::remove_file(root.join(format!("{path}#{n}"))).await; // mostly there is none
            }
        }
        Ok(())
    }

    /// Deletes what was sent by a presigned request, of which the object itself was made.
    pub(crate) async fn delete_staged(&self, key: &str) -> Result<(), PayloadError> {
        let key = staged(key);
        self.delete_one(&self.path(&key)?, &key).await
    }

    async fn delete_one(&self, path: &Path, key: &str) -> Result<(), PayloadError> {
        match answer(self.store.delete(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(storage_error(key, error)),
        }
    }

    /// Whether clients can be granted requests.
    pub(crate) fn can_sign(&self) -> bool {
        self.signer.is_some()
    }

    /// A request that writes the bytes of `object` to where [`staged`] says; `None`: the backend grants none now.
    pub(crate) async fn presign_put(
        &self,
        object: &ObjectRef,
        key: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Option<PresignedRequest> {
        let headers = self.held_by.headers(object);
        let mut options = SignedUrlOptions::new();
        if self.held_by != HeldBy::Nothing {
            for (name, value) in &headers {
                let value = HeaderValue::from_str(value).expect("digits and base64 may be in a header");
                options = options.with_signed_header(HeaderName::from_static(name), value);
            }
        }
        let url = self.sign(Method::PUT, &staged(key), lifetime, &options).await?;
        Some(PresignedRequest { method: "PUT", url, headers, expires_at: now + lifetime })
    }

    /// A request that reads the object; `None`: the backend grants none now.
    pub(crate) async fn presign_get(
        &self,
        key: &str,
        lifetime: Duration,
        now: Timestamp,
    ) -> Option<PresignedRequest> {
        let url = self.sign(Method::GET, key, lifetime, &SignedUrlOptions::new()).await?;
        Some(PresignedRequest { method: "GET", url, headers: Vec::new(), expires_at: now + lifetime })
    }

    /// A fault is no reason to fail: what would have gone by the request goes through this process instead.
    async fn sign(
        &self,
        method: Method,
        key: &str,
        lifetime: Duration,
        options: &SignedUrlOptions,
    ) -> Option<String> {
        let (signer, path) = (self.signer.as_ref()?, self.path(key).ok()?);
        match answer(signer.signed_url_opts(method, &path, lifetime, options)).await {
            Ok(url) => Some(url.to_string()),
            Err(error) => {
                tracing::warn!(
                    object.key = key,
                    %error,
                    "object storage signed no request, so its payload goes through this process: set \
                     payload.presigned_requests to false where it never signs"
                );
                None
            }
        }
    }
}

/// Where a presigned PUT writes. Nobody but the services writes to the key itself, and they only bytes that they have
/// checked: a request that is still granted changes no finished object.
pub(crate) fn staged(key: &str) -> String {
    format!("{key}.upload")
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let is_there = digit <= group.len();
            text.push(if is_there { char::from(DIGITS[bits >> (18 - 6 * digit) & 63]) } else { '=' });
        }
    }
    text
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

/// Waits for an answer, as long as object storage may be silent.
pub(crate) async fn answer<T>(
    asked: impl Future<Output = object_store::Result<T>>,
) -> object_store::Result<T> {
    timeout(SILENCE, asked).await.unwrap_or_else(|_| {
        let source = format!("no answer within {SILENCE:?}").into();
        Err(object_store::Error::Generic { store: "object storage", source })
    })
}

fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: RETRY_TIMEOUT, backoff: BackoffConfig::default() }
}

fn client_options(config: &ObjectStorageConfig) -> ClientOptions {
    // No `with_read_timeout`: it counts the time in which nobody asks. What is asked is bounded by `answer`.
    ClientOptions::new().with_allow_http(config.allow_http).with_timeout_disabled()
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
