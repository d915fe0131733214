use bytes::Bytes;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt as _;

use crate::{
    PayloadError, metrics,
    storage::{answer, storage_error},
};

/// Writes an object whole or not at all. To be ended by [`Writer::finish`] or [`Writer::abort`].
pub(crate) struct Writer {
    key: String,
    inner: BufWriter,
}

impl Writer {
    pub(crate) fn new(key: &str, inner: BufWriter) -> Self {
        Self { key: key.to_owned(), inner }
    }

    /// Takes the next bytes; waits while object storage is slower than they come.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), PayloadError> {
        ::metrics::counter!(metrics::BYTES, "direction" => "upload").increment(bytes.len() as u64);
        answer(self.inner.put(bytes)).await.map_err(|error| storage_error(&self.key, error))
    }

    /// Makes what was written the object: durable when this returns.
    pub async fn finish(mut self) -> Result<(), PayloadError> {
        let done = answer(async {
            let done = self.inner.shutdown().await;
            done.map_err(|error| object_store::Error::Generic {
                store: "object storage",
                source: error.into(),
            })
        });
        done.await.map_err(|error| storage_error(&self.key, error))
    }

    /// Gives up, and takes away what was written so far.
    pub async fn abort(mut self) {
        if let Err(error) = answer(self.inner.abort()).await {
            tracing::warn!(object.key = self.key, %error, "an unfinished upload was not taken away");
        }
    }
}
