use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tidegate_model::{Clock, Namespace, ObjectId, ObjectRef, limits};
use tidegate_service_kit::CancellationToken;
use tidegate_store::{ObjectRow, ObjectState, RunStore};

use crate::{
    Download, ObjectStorage, PayloadError, PresignedRequest, Upload, metrics,
    room::{Rooms, Use},
    storage, upload,
    writer::Writer,
};

/// Objects that are deleted at once.
const MAX_DELETIONS_UNDER_WAY: usize = 8;

/// How payloads are handled.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes of one payload, at most.
    pub max_size: u64,
    /// How long a presigned request is granted. `None`: none is given, also where the backend could.
    pub presigned_lifetime: Option<Duration>,
    /// Bytes that this process holds of objects that it writes, at most; what would need more is refused as overload. One
    /// namespace has at most half of it for uploads and half for values at hand, and all uploads together three quarters.
    pub max_under_way: u64,
}

impl Options {
    /// Below this an object of the largest size could never be written.
    pub const MIN_UNDER_WAY: u64 = storage::MAX_HELD;
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
    rooms: Arc<Rooms>,
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
        let rooms = Arc::new(Rooms::new(options.max_under_way));
        Self { inner: Arc::new(Inner { store, storage, clock, options, rooms }) }
    }

    /// Bytes of one payload, at most.
    pub fn max_size(&self) -> u64 {
        self.inner.options.max_size
    }

    pub(crate) fn storage(&self) -> &ObjectStorage {
        &self.inner.storage
    }

    /// Announces bytes that are to be uploaded. Gives the request by which to do that without this process, where the
    /// backend grants such; [`Payloads::upload`] takes them in any case. None is given for what is there already. Safe to
    /// repeat.
    ///
    /// # Errors
    /// The size is out of bounds, or the id was used for something else.
    pub async fn announce(
        &self,
        namespace: &Namespace,
        object: ObjectRef,
    ) -> Result<Option<PresignedRequest>, PayloadError> {
        let row = self.announce_row(namespace, object).await?;
        let Some(lifetime) = self.inner.options.presigned_lifetime else { return Ok(None) };
        if row.state == ObjectState::Complete {
            return Ok(None);
        }
        Ok(self.storage().presign_put(&row.object, &row.key, lifetime, self.inner.clock.now()).await)
    }

    async fn announce_row(
        &self,
        namespace: &Namespace,
        object: ObjectRef,
    ) -> Result<ObjectRow, PayloadError> {
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
        let known = self.inner.store.announce_object(&row, self.inner.clock.now()).await?;
        if (known.object, &known.namespace) != (row.object, &row.namespace) {
            return Err(PayloadError::IdReused { id: object.id });
        }
        match known.state {
            ObjectState::Deleting => Err(PayloadError::NotFound { id: object.id }),
            ObjectState::Uploading | ObjectState::Complete => Ok(known),
        }
    }

    /// Begins to take the bytes of an announced object.
    ///
    /// # Errors
    /// It was not announced in this namespace, or too much is under way.
    pub async fn upload(&self, namespace: &Namespace, id: ObjectId) -> Result<Upload, PayloadError> {
        let announced = self.row(namespace, id).await?;
        let room = self.inner.rooms.take(namespace, Use::Stream, announced.object.size)?;
        // Again, so that it is not collected before it is done.
        let row = self.announce_row(namespace, announced.object).await?;
        Upload::new(self.clone(), row, room)
    }

    /// Makes an object of bytes that were sent by a presigned request. They are read and checked on the way: what a
    /// client or a backend says of their checksum proves nothing, and the request is still granted. At `stop` what was
    /// written so far is taken away. Safe to repeat.
    ///
    /// # Errors
    /// The bytes are not there, or not those that were announced, or too much is under way, or this process ends.
    pub async fn complete(
        &self,
        namespace: &Namespace,
        id: ObjectId,
        stop: &CancellationToken,
    ) -> Result<ObjectRef, PayloadError> {
        let row = self.row(namespace, id).await?;
        if row.state == ObjectState::Complete {
            return Ok(row.object);
        }
        let _room = self.inner.rooms.take(namespace, Use::Stream, row.object.size)?;
        let mut writer = self.storage().writer(&row.key)?;
        let copied = stop.run_until_cancelled(Box::pin(self.copy_staged(&row, &mut writer))).await;
        if let Err(error) = copied.unwrap_or(Err(PayloadError::Draining)) {
            writer.abort().await;
            // Another call may have made the object meanwhile, and have taken away what was uploaded.
            let is_gone = matches!(error, PayloadError::Mismatch { .. });
            if is_gone && self.row(namespace, id).await?.state == ObjectState::Complete {
                return Ok(row.object);
            }
            return Err(error);
        }
        writer.finish().await?;
        let object = self.complete_row(&row).await?;
        self.discard_staged(&row).await;
        Ok(object)
    }

    /// Copies what was sent by a presigned request. The last bytes are written only if all are those that were announced.
    async fn copy_staged(&self, row: &ObjectRow, to: &mut Writer) -> Result<(), PayloadError> {
        let ObjectRef { id, size, .. } = row.object;
        let staged = storage::staged(&row.key);
        let found = self.storage().size(&staged).await?;
        if found != Some(size) {
            let cause = match found {
                None => "nothing was uploaded".to_owned(),
                Some(found) => format!("it has {found} bytes and not {size}"),
            };
            return Err(PayloadError::Mismatch { id, cause });
        }
        let mut from = self.read(row, staged).await?;
        while let Some(chunk) = from.next().await? {
            to.write(chunk).await?;
        }
        Ok(())
    }

    pub(crate) async fn complete_row(&self, row: &ObjectRow) -> Result<ObjectRef, PayloadError> {
        let id = row.object.id;
        let now = self.inner.clock.now();
        if self.inner.store.complete_object(&row.namespace, id, now).await? {
            return Ok(row.object);
        }
        // It was collected meanwhile, and nobody would look for its bytes. A failure is logged where it happens.
        let _ = self.storage().delete(&row.key).await;
        Err(PayloadError::NotFound { id })
    }

    /// Takes away what a presigned request may have left beside a finished object. What is left all the same, or is sent
    /// later, goes with the object.
    pub(crate) async fn discard_staged(&self, row: &ObjectRow) {
        if self.inner.options.presigned_lifetime.is_some() && self.storage().can_sign() {
            let _ = self.storage().delete_staged(&row.key).await; // a failure is logged where it happens
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
        let Some(lifetime) = self.inner.options.presigned_lifetime else { return Ok((row.object, None)) };
        let granted = self.storage().presign_get(&row.key, lifetime, self.inner.clock.now()).await;
        Ok((row.object, granted))
    }

    /// Begins to read an object.
    ///
    /// # Errors
    /// There is no such object in this namespace.
    pub async fn download(&self, namespace: &Namespace, id: ObjectId) -> Result<Download, PayloadError> {
        let row = self.complete_object(namespace, id).await?;
        self.read(&row, row.key.clone()).await
    }

    /// Puts bytes that are at hand into an object of their own. `sha256` is theirs, where the caller knows it.
    ///
    /// # Errors
    /// They are too many, too much is under way, or object storage or the store does not answer.
    pub async fn put(
        &self,
        namespace: &Namespace,
        bytes: Bytes,
        sha256: Option<[u8; 32]>,
    ) -> Result<ObjectRef, PayloadError> {
        let size = bytes.len() as u64;
        let _room = self.inner.rooms.take(namespace, Use::Value, size)?;
        let sha256 = match sha256 {
            Some(sha256) => sha256,
            None => upload::sha256(&bytes).await,
        };
        let row = self.announce_row(namespace, ObjectRef { id: ObjectId::new(), size, sha256 }).await?;
        let mut writer = self.storage().writer(&row.key)?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let chunk = rest.split_to(rest.len().min(limits::MAX_CHUNK_SIZE));
            if let Err(error) = writer.write(chunk).await {
                writer.abort().await;
                return Err(error);
            }
        }
        writer.finish().await?;
        self.complete_row(&row).await
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
            tidegate_service_kit::pulse::beat();
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

    /// Reads the bytes of an object at its own key, or where they were sent to.
    async fn read(&self, row: &ObjectRow, key: String) -> Result<Download, PayloadError> {
        let stream = self.storage().read(&key).await?;
        let stream = stream.ok_or_else(|| PayloadError::Mismatch {
            id: row.object.id,
            cause: "its bytes are gone from object storage".to_owned(),
        })?;
        Ok(Download::new(row.object, key, stream))
    }
}
