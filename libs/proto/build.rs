//! Compiles `proto/` with a pure-Rust compiler: no system `protoc` is needed.

use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut files = Vec::new();
    for folder in ["tidegate/v1", "tidegate/internal/v1"] {
        for entry in std::fs::read_dir(root.join(folder))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "proto") {
                files.push(path);
            }
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, [root])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("tidegate.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Ordered maps, so that equal payloads are equal bytes and have equal hashes.
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .skip_debug([".tidegate.v1.Webhook"]) // it has secrets: src/redacted.rs
        .compile_fds(descriptors)?;
    Ok(())
}
