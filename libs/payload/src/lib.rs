//! The values that are too large for a row: they are objects in object storage (a local directory, S3, Google Cloud
//! Storage, Azure), and the row has a claim check. Who uploads says first how many bytes there are and what their
//! SHA-256 is; what does not agree never becomes usable, and every read is checked again.
//!
//! An object has a row from before its first byte until after its last: the store tells what is in use, and
//! [`Payloads::collect`] deletes what is not.

mod config;
mod download;
mod error;
mod metrics;
mod payloads;
mod room;
mod storage;
mod upload;
mod writer;

pub use config::ObjectStorageConfig;
pub use download::Download;
pub use error::PayloadError;
pub use payloads::{Options, Payloads};
pub use storage::{ObjectStorage, OpenError, PresignedRequest};
pub use upload::{Upload, sha256};
