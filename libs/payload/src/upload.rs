use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidegate_model::{ObjectRef, limits};
use tidegate_store::ObjectRow;

use crate::{PayloadError, Payloads, metrics, room::Room, writer::Writer};

/// Bytes that are hashed before others have their turn: well under a millisecond.
const HASHED_AT_ONCE: usize = 64 << 10;

/// An upload through this process. To be ended by [`Upload::finish`] or [`Upload::abort`].
pub struct Upload {
    payloads: Payloads,
    row: ObjectRow,
    writer: Writer,
    hash: Sha256,
    n_written: u64,
    _room: Room,
}

impl Upload {
    pub(crate) fn new(payloads: Payloads, row: ObjectRow, room: Room) -> Result<Self, PayloadError> {
        let writer = payloads.storage().writer(&row.key)?;
        Ok(Self { payloads, row, writer, hash: Sha256::new(), n_written: 0, _room: room })
    }

    /// What is uploaded.
    pub const fn object(&self) -> ObjectRef {
        self.row.object
    }

    /// Takes the next bytes; waits while object storage is slower than they come.
    ///
    /// # Errors
    /// A chunk that is too large, more bytes than were announced, or object storage does not answer.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), PayloadError> {
        if chunk.len() > limits::MAX_CHUNK_SIZE {
            let message =
                format!("has {} bytes; at most {} are allowed", chunk.len(), limits::MAX_CHUNK_SIZE);
            return Err(PayloadError::invalid("chunk", message));
        }
        self.n_written += chunk.len() as u64;
        if self.n_written > self.row.object.size {
            return Err(self.mismatch(format!("it has more than {} bytes", self.row.object.size)));
        }
        add(&mut self.hash, &chunk).await;
        self.writer.write(chunk).await
    }

    /// Checks what came, and makes it usable: durable when this returns.
    ///
    /// # Errors
    /// The bytes are not those that were announced, or object storage or the store does not answer.
    pub async fn finish(mut self) -> Result<ObjectRef, PayloadError> {
        if let Err(error) = self.check() {
            self.abort().await;
            return Err(error);
        }
        self.writer.finish().await?;
        let object = self.payloads.complete_row(&self.row).await?;
        self.payloads.discard_staged(&self.row).await;
        Ok(object)
    }

    /// Gives up, and takes away what was written so far.
    pub async fn abort(self) {
        self.writer.abort().await;
    }

    fn check(&mut self) -> Result<(), PayloadError> {
        let ObjectRef { size, sha256, .. } = self.row.object;
        if self.n_written != size {
            return Err(self.mismatch(format!("it has {} bytes and not {size}", self.n_written)));
        }
        if <[u8; 32]>::from(self.hash.finalize_reset()) != sha256 {
            return Err(self.mismatch("its SHA-256 is another".to_owned()));
        }
        Ok(())
    }

    fn mismatch(&self, cause: String) -> PayloadError {
        ::metrics::counter!(metrics::MISMATCHES).increment(1);
        PayloadError::Mismatch { id: self.row.object.id, cause }
    }
}

/// The SHA-256 of these bytes, made without keeping others waiting.
pub async fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    add(&mut hash, bytes).await;
    hash.finalize().into()
}

/// Adds bytes to a hash without keeping others waiting.
pub(crate) async fn add(hash: &mut Sha256, bytes: &[u8]) {
    for piece in bytes.chunks(HASHED_AT_ONCE) {
        hash.update(piece);
        tokio::task::yield_now().await;
    }
}
