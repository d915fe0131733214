//! Code of an archive.

use std::{
    fs::File,
    io::Read as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sha2::{Digest as _, Sha256};
use tidegate_sdk_core::proto::ArchiveSource;
use tokio::task::spawn_blocking;

use super::{
    cache::{Cache, hex},
    download, git, unpack,
};
use crate::backend::StartError;

/// Puts the code of `source` into `code`.
///
/// # Errors
/// `Job`: there is no such archive, it is another than it should be, or it is too large. `Passing`: it cannot be had now.
pub(super) async fn fetch(source: &ArchiveSource, cache: &Cache, code: &Path) -> Result<(), StartError> {
    let url = git::shown(&source.url);
    let expected = source.sha256.to_ascii_lowercase();
    let entry = cache.entry("archive", &format!("{expected} {}", source.url)).await?;
    let file = entry.directory.join("archive");
    // What has a checksum never changes, so it is fetched once.
    let is_there = !expected.is_empty() && sha256_of(&file).await.is_ok_and(|found| found == expected);
    if !is_there {
        let new = entry.directory.join("archive.new");
        download::download(&source.url, &new).await?;
        let found = sha256_of(&new).await;
        let found = found
            .map_err(|error| StartError::Passing(format!("{} cannot be read: {error}", new.display())))?;
        if !expected.is_empty() && found != expected {
            return Err(StartError::Job(format!(
                "the archive {url} has the SHA-256 {found}, and should have {expected}: it was changed, or the \
                 deployment names another"
            )));
        }
        std::fs::rename(&new, &file)
            .map_err(|error| StartError::Passing(format!("{} cannot be kept: {error}", file.display())))?;
    }
    let (target, stopped) = (code.to_owned(), Stopped::default());
    let is_stopped = Arc::clone(&stopped.0);
    let unpacked = spawn_blocking(move || unpack::unpack(&file, &target, &is_stopped)).await;
    match unpacked {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StartError::Job(format!("the archive {url} cannot be unpacked: {error}"))),
        Err(error) => Err(StartError::Passing(format!("the archive {url} was not unpacked: {error}"))),
    }
}

/// Has unpacking end when nobody waits for it any more.
#[derive(Default)]
struct Stopped(Arc<AtomicBool>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn sha256_of(file: &Path) -> std::io::Result<String> {
    let file = file.to_owned();
    let hashed = spawn_blocking(move || {
        let (mut file, mut hasher) = (File::open(file)?, Sha256::new());
        let mut chunk = vec![0; 1 << 16];
        loop {
            let n_bytes = file.read(&mut chunk)?;
            if n_bytes == 0 {
                return Ok(hex(&hasher.finalize()));
            }
            hasher.update(&chunk[..n_bytes]);
        }
    });
    hashed.await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
