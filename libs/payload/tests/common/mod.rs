//! Payloads over a SQLite store and a clock that the test sets.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tidegate_model::{Namespace, ObjectId, ObjectRef, limits};
use tidegate_payload::{ObjectStorage, Options, PayloadError, Payloads};
use tidegate_store::RunStore;
use tidegate_store_sqlite::SqliteStore;
use tidegate_testkit::ManualClock;

pub const OPTIONS: Options = Options {
    max_size: 32 << 20,
    presigned_lifetime: Some(Duration::from_secs(900)),
    max_under_way: 256 << 20,
};

pub struct Fixture {
    pub payloads: Payloads,
    pub store: Arc<dyn RunStore>,
    pub clock: Arc<ManualClock>,
}

impl Fixture {
    pub async fn new(storage: ObjectStorage) -> Self {
        Self::with(storage, OPTIONS).await
    }

    pub async fn with(storage: ObjectStorage, options: Options) -> Self {
        let store: Arc<dyn RunStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
        let clock = Arc::new(ManualClock::new());
        let payloads = Payloads::new(Arc::clone(&store), storage, Arc::<ManualClock>::clone(&clock), options);
        Self { payloads, store, clock }
    }

    /// Uploads through this process, in chunks.
    pub async fn send(&self, id: ObjectId, data: Bytes) -> Result<ObjectRef, PayloadError> {
        let mut upload = self.payloads.upload(&Namespace::default(), id).await?;
        for chunk in data.chunks(limits::MAX_CHUNK_SIZE) {
            if let Err(error) = upload.write(Bytes::copy_from_slice(chunk)).await {
                upload.abort().await;
                return Err(error);
            }
        }
        upload.finish().await
    }

    /// Everything that comes out of an object.
    pub async fn read(&self, id: ObjectId) -> Result<Bytes, PayloadError> {
        let mut download = self.payloads.download(&Namespace::default(), id).await?;
        let mut all = Vec::new();
        while let Some(chunk) = download.next().await? {
            assert!(chunk.len() <= limits::MAX_CHUNK_SIZE);
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

/// Bytes that no two positions of which can be exchanged unnoticed.
pub fn bytes(n: usize) -> Bytes {
    (0..n as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// What is to be announced of these bytes, under a new id.
pub fn object_of(data: &[u8]) -> ObjectRef {
    ObjectRef { id: ObjectId::new(), size: data.len() as u64, sha256: Sha256::digest(data).into() }
}
