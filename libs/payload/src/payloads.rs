use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Method;
use sha2::{Digest as _, Sha256};
use tidegate_model::{Clock, Namespace, ObjectId, ObjectRef, limits};
use tidegate_store::{ObjectRow, ObjectState, RunStore};

use crate::{Download, ObjectStorage, PayloadError, PresignedRequest, Upload, metrics, upload};

/// Objects that are deleted at once.
const MAX_DELETIONS_UNDER_WAY: usize = 8;

/// How payloads are handled.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of one payload, at most.
    pub max_size: u64,
    /// How long a presigned request is granted. `None`: none is given, also where the backend could.
    pub presigned_lifetime: Option<Duration>,
}

/// The payloads in object storage, with their rows. Cheap to clone.
#[derive(Clone)]
pub struct Payloads {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn RunStore>,
    storage: ObjectStorage,
    clock: Arc<dyn Clock>,
    options: Options,
}

impl Payloads {
    /// Payloads whose rows are in `store` and whose bytes are in `storage`.
    pub fn new(
        store: Arc<dyn RunStore>,
        storage: ObjectStorage,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        metrics::describe();
        Self { inner: Arc::new(Inner { store, storage, clock, options }) }
    }

    /// Bytes of one payload, at most.
    pub fn max_size(&self) -> u64 {
        self.inner.options.max_size
    }

    pub(crate) fn storage(&self) -> &ObjectStorage {
        &self.inner.storage
    }

    /// Announces bytes that are to be uploaded. Gives the request by which to do that without this process, where the
    /// backend grants such; [`Payloads::upload`] takes them in any case. Safe to repeat.
    ///
    /// # Errors
    /// The size is out of bounds, or the id was used for something else.
    pub async fn announce(
        &self,
        namespace: &Namespace,
        object: ObjectRef,
    ) -> Result<Option<PresignedRequest>, PayloadError> {
        let (size, max) = (object.size, self.max_size());
        if !(1..=max).contains(&size) {
            let message = format!("is {size}; 1 to {max} bytes are allowed");
            return Err(PayloadError::invalid("size_bytes", message));
        }
        let row = ObjectRow {
            object,
            namespace: namespace.clone(),
            key: ObjectStorage::key(namespace, object.id),
            state: ObjectState::Uploading,
        };
        let now = self.inner.clock.now();
        let known = self.inner.store.announce_object(&row, now).await?;
        if (known.object, &known.namespace) != (row.object, &row.namespace) {
            return Err(PayloadError::IdReused { id: object.id });
        }
        match known.state {
            ObjectState::Deleting => Err(PayloadError::NotFound { id: object.id }),
            ObjectState::Uploading | ObjectState::Complete => self.presign(Method::PUT, &known).await,
        }
    }

    /// Begins to take the bytes of an announced object.
    ///
    /// # Errors
    /// It was not announced in this namespace.
    pub async fn upload(&self, namespace: &Namespace, id: ObjectId) -> Result<Upload, PayloadError> {
        Upload::new(self.clone(), self.row(namespace, id).await?)
    }

    /// Checks bytes that were uploaded by a presigned request, and makes them usable. They are read back: what a
    /// client or a backend says of their checksum proves nothing. Safe to repeat.
    ///
    /// # Errors
    /// The bytes are not there, or not those that were announced.
    pub async fn complete(&self, namespace: &Namespace, id: ObjectId) -> Result<ObjectRef, PayloadError> {
        let row = self.row(namespace, id).await?;
        if row.state == ObjectState::Complete {
            return Ok(row.object);
        }
        let found = self.storage().size(&row.key).await?;
        if found != Some(row.object.size) {
            let cause = match found {
                None => "nothing was uploaded".to_owned(),
                Some(found) => format!("it has {found} bytes and not {}", row.object.size),
            };
            return Err(PayloadError::Mismatch { id, cause });
        }
        let mut download = self.read(&row).await?;
        while download.next().await?.is_some() {}
        self.complete_row(&row).await
    }

    pub(crate) async fn complete_row(&self, row: &ObjectRow) -> Result<ObjectRef, PayloadError> {
        let id = row.object.id;
        let now = self.inner.clock.now();
        if self.inner.store.complete_object(&row.namespace, id, now).await? {
            Ok(row.object)
        } else {
            Err(PayloadError::NotFound { id })
        }
    }

    /// The request by which to read an object without this process; `None`: the backend grants none.
    ///
    /// # Errors
    /// There is no such object in this namespace.
    pub async fn presigned_download(
        &self,
        namespace: &Namespace,
        id: ObjectId,
    ) -> Result<(ObjectRef, Option<PresignedRequest>), PayloadError> {
        let row = self.complete_object(namespace, id).await?;
        Ok((row.object, self.presign(Method::GET, &row).await?))
    }

    /// Begins to read an object.
    ///
    /// # Errors
    /// There is no such object in this namespace.
    pub async fn download(&self, namespace: &Namespace, id: ObjectId) -> Result<Download, PayloadError> {
        let row = self.complete_object(namespace, id).await?;
        self.read(&row).await
    }

    /// Puts bytes that are at hand into an object of their own.
    ///
    /// # Errors
    /// They are too many, or object storage or the store does not answer.
    pub async fn put(&self, namespace: &Namespace, bytes: Bytes) -> Result<ObjectRef, PayloadError> {
        let mut hash = Sha256::new();
        upload::add(&mut hash, &bytes).await;
        let object =
            ObjectRef { id: ObjectId::new(), size: bytes.len() as u64, sha256: hash.finalize().into() };
        self.announce(namespace, object).await?;
        let mut upload = self.upload(namespace, object.id).await?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(limits::MAX_CHUNK_SIZE));
            if let Err(error) = upload.write(chunk).await {
                upload.abort().await;
                return Err(error);
            }
        }
        upload.finish().await
    }

    /// Judges up to `limit` objects that were neither used nor judged for `orphan_after`, and deletes those that
    /// nothing refers to. Gives how many it judged.
    ///
    /// An object is first marked, so that nothing can refer to it any more; then its bytes go, and then its row. Where
    /// this breaks off in between, the mark is found again.
    ///
    /// # Errors
    /// The store does not answer. An object that cannot be deleted is left for a later time.
    pub async fn collect(&self, orphan_after: Duration, limit: usize) -> Result<usize, PayloadError> {
        let now = self.inner.clock.now();
        let judged = self.inner.store.take_orphans(now - orphan_after, now, limit).await?;
        let deletions = judged.orphans.into_iter().map(|row| {
            let storage = self.storage().clone();
            // A failure is logged where it happens.
            async move { storage.delete(&row.key).await.ok().map(|()| row.object.id) }
        });
        let mut deletions = stream::iter(deletions).buffer_unordered(MAX_DELETIONS_UNDER_WAY);
        let mut deleted: Vec<ObjectId> = Vec::new();
        while let Some(id) = deletions.next().await {
            deleted.extend(id);
        }
        if !deleted.is_empty() {
            self.inner.store.forget_objects(&deleted).await?;
            ::metrics::counter!(metrics::DELETED).increment(deleted.len() as u64);
        }
        Ok(judged.n_judged)
    }

    async fn row(&self, namespace: &Namespace, id: ObjectId) -> Result<ObjectRow, PayloadError> {
        let row = self.inner.store.get_object(namespace, id).await?;
        row.filter(|row| row.state != ObjectState::Deleting).ok_or(PayloadError::NotFound { id })
    }

    async fn complete_object(&self, namespace: &Namespace, id: ObjectId) -> Result<ObjectRow, PayloadError> {
        let row = self.row(namespace, id).await?;
        if row.state == ObjectState::Complete { Ok(row) } else { Err(PayloadError::NotFound { id }) }
    }

    async fn read(&self, row: &ObjectRow) -> Result<Download, PayloadError> {
        let stream = self.storage().read(&row.key).await?;
        let stream = stream.ok_or_else(|| PayloadError::Mismatch {
            id: row.object.id,
            cause: "its bytes are gone from object storage".to_owned(),
        })?;
        Ok(Download::new(row.object, row.key.clone(), stream))
    }

    async fn presign(
        &self,
        method: Method,
        row: &ObjectRow,
    ) -> Result<Option<PresignedRequest>, PayloadError> {
        let Some(lifetime) = self.inner.options.presigned_lifetime else { return Ok(None) };
        self.storage().presign(method, &row.key, lifetime, self.inner.clock.now()).await
    }
}
