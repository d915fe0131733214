use bytes::{Bytes, BytesMut};
use futures::{TryStreamExt as _, stream::BoxStream};
use sha2::{Digest as _, Sha256};
use tidegate_model::{ObjectRef, limits};

use crate::{
    PayloadError, metrics,
    storage::{answer, storage_error},
    upload,
};

/// Bytes that are gathered before they are given on: backends give as little as 8 KiB at a time.
const GATHERED: usize = 256 << 10;

/// The bytes of an object, which are checked on the way.
pub struct Download {
    object: ObjectRef,
    key: String,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
    gathered: BytesMut,
    hash: Sha256,
    n_read: u64,
    is_over: bool,
}

impl Download {
    pub(crate) fn new(
        object: ObjectRef,
        key: String,
        stream: BoxStream<'static, object_store::Result<Bytes>>,
    ) -> Self {
        Self {
            object,
            key,
            stream,
            gathered: BytesMut::new(),
            hash: Sha256::new(),
            n_read: 0,
            is_over: false,
        }
    }

    /// What the bytes are.
    pub const fn object(&self) -> ObjectRef {
        self.object
    }

    /// The next bytes, at most a chunk of them; `None` once all have come. The last ones come only if all together are
    /// those that were announced.
    ///
    /// # Errors
    /// They are not, or object storage does not answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, PayloadError> {
        // Once all have come, the end of the stream is awaited, so that these last ones are checked before they go.
        while !self.is_over && (self.gathered.len() < GATHERED || self.n_read == self.object.size) {
            let piece = answer(self.stream.try_next()).await;
            let Some(piece) = piece.map_err(|error| storage_error(&self.key, error))? else {
                self.is_over = true;
                self.check()?;
                break;
            };
            self.n_read += piece.len() as u64;
            upload::add(&mut self.hash, &piece).await;
            self.gathered.extend_from_slice(&piece);
            if self.n_read > self.object.size {
                return Err(self.mismatch());
            }
        }
        if self.gathered.is_empty() {
            return Ok(None);
        }
        let n_given = self.gathered.len().min(limits::MAX_CHUNK_SIZE);
        ::metrics::counter!(metrics::BYTES, "direction" => "download").increment(n_given as u64);
        Ok(Some(self.gathered.split_to(n_given).freeze()))
    }

    fn check(&mut self) -> Result<(), PayloadError> {
        let sha256: [u8; 32] = self.hash.finalize_reset().into();
        if self.n_read == self.object.size && sha256 == self.object.sha256 {
            return Ok(());
        }
        Err(self.mismatch())
    }

    fn mismatch(&self) -> PayloadError {
        ::metrics::counter!(metrics::MISMATCHES).increment(1);
        let cause = "the bytes in object storage have another size or SHA-256".to_owned();
        PayloadError::Mismatch { id: self.object.id, cause }
    }
}
