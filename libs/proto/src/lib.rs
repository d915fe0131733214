//! Generated messages, clients and servers of `proto/`. Nothing here is written by hand but how
//! messages with secrets are printed; the comments of the `.proto` files are the documentation.
#![allow(missing_docs, clippy::all)]

pub mod tidegate {
    //! The packages, nested as the generated code refers to them.
    pub mod v1 {
        tonic::include_proto!("tidegate.v1");
    }
    pub mod internal {
        pub mod v1 {
            tonic::include_proto!("tidegate.internal.v1");
        }
    }
}

mod redacted;

pub use tidegate::{internal::v1 as internal, v1};

/// The encoded `FileDescriptorSet` of all packages, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tidegate.bin"));
