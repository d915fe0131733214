//! What was fetched, for the next run: a directory for each repository and archive, each with a lock.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
    time::SystemTime,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    task::spawn_blocking,
};
use tracing::{info, warn};

use crate::backend::StartError;

/// The file of an entry that is locked, and whose time tells when the entry was last used.
const LOCK: &str = "lock";
/// What ends the name of an entry that is being taken away.
const GONE: &str = "gone";

#[derive(Clone, Debug)]
pub(super) struct Cache {
    root: PathBuf,
    max_bytes: u64,
    /// Who of this process has an entry, or waits for it. Of those one alone waits for other processes, which takes a thread.
    turns: Arc<std::sync::Mutex<HashMap<PathBuf, Weak<Mutex<()>>>>>,
}

/// An entry that nobody else uses or takes away while this is there.
pub(super) struct Entry {
    pub(super) directory: PathBuf,
    _lock: (File, OwnedMutexGuard<()>),
}

impl Cache {
    pub(super) fn new(root: PathBuf, max_bytes: u64) -> Self {
        Self { root, max_bytes, turns: Arc::default() }
    }

    /// The entry of `key`, once it is free. Cancellation-safe.
    ///
    /// # Errors
    /// `Passing` where the disk does not take it.
    pub(super) async fn entry(&self, kind: &str, key: &str) -> Result<Entry, StartError> {
        let directory = self.root.join(kind).join(&hex(&Sha256::digest(key))[..32]);
        let turn = self.turn(&directory).lock_owned().await;
        let path = directory.clone();
        let locked = spawn_blocking(move || lock(&path).map(|lock| (lock, turn))).await;
        let locked = locked.unwrap_or_else(|error| Err(io::Error::other(error)));
        match locked {
            Ok(lock) => Ok(Entry { directory, _lock: lock }),
            Err(error) => {
                Err(StartError::Passing(format!("the cache {} cannot be used: {error}", directory.display())))
            }
        }
    }

    fn turn(&self, directory: &Path) -> Arc<Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        let known = turns.get(directory).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(directory.to_owned(), Arc::downgrade(&turn));
            turn
        })
    }

    /// Takes away what was not used for the longest time, until the rest is within the bound.
    pub(super) async fn shrink(&self) {
        let (root, max_bytes) = (self.root.clone(), self.max_bytes);
        let shrunk = spawn_blocking(move || shrink(&root, max_bytes)).await;
        if let Ok(Err(error)) = shrunk {
            warn!("the cache {} cannot be tidied up: {error}", self.root.display());
        }
    }
}

fn lock(directory: &Path) -> io::Result<File> {
    loop {
        fs::create_dir_all(directory)?;
        let path = directory.join(LOCK);
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        file.lock()?;
        if is_at(&file, &path) {
            file.set_modified(now())?;
            return Ok(file);
        }
    }
}

/// Whether this is the file of that path: meanwhile its entry may have been taken away, and made anew.
fn is_at(file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| {
        file.metadata().is_ok_and(|ours| (ours.dev(), ours.ino()) == (found.dev(), found.ino()))
    })
}

#[expect(clippy::disallowed_methods, reason = "the times of files are those of the machine")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn shrink(root: &Path, max_bytes: u64) -> io::Result<()> {
    let mut entries = Vec::new();
    for kind in fs::read_dir(root)? {
        for entry in fs::read_dir(kind?.path())? {
            let directory = entry?.path();
            if directory.extension().is_some_and(|extension| extension == GONE) {
                let _ = fs::remove_dir_all(&directory); // of a worker that was killed meanwhile
                continue;
            }
            let used = fs::metadata(directory.join(LOCK)).and_then(|lock| lock.modified());
            entries.push((used.unwrap_or(SystemTime::UNIX_EPOCH), size_of(&directory), directory));
        }
    }
    let mut n_bytes: u64 = entries.iter().map(|(_, size, _)| size).sum();
    entries.sort();
    for (_, size, directory) in entries {
        if n_bytes <= max_bytes {
            break;
        }
        let path = directory.join(LOCK);
        let Ok(lock) = File::open(&path) else { continue };
        if lock.try_lock().is_err() || !is_at(&lock, &path) {
            continue; // in use
        }
        info!("{} is taken from the cache, which is to be smaller", directory.display());
        take_away(&directory)?;
        n_bytes = n_bytes.saturating_sub(size);
    }
    Ok(())
}

/// Takes a locked entry away as a whole, so that who makes it anew meanwhile has a directory of its own.
fn take_away(directory: &Path) -> io::Result<()> {
    let gone = directory.with_extension(GONE);
    fs::rename(directory, &gone)?;
    fs::remove_dir_all(&gone)
}

/// Bytes of all files below; what cannot be looked at has none.
fn size_of(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size_of(&entry.path())).sum()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::{FutureExt as _, future::join_all};
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn who_waits_for_an_entry_takes_no_thread() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build();
        runtime.unwrap().block_on(async {
            let root = tempfile::tempdir().unwrap();
            let cache = Cache::new(root.path().to_owned(), 2_500);
            let held = cache.entry("archive", "key").await.unwrap();
            let waits = (0..10).map(|_| cache.entry("archive", "key"));
            let mut waiting = Box::pin(join_all(waits.map(|entry| entry.map(|entry| drop(entry.unwrap())))));
            assert!(waiting.as_mut().now_or_never().is_none());
            let others = timeout(Duration::from_secs(20), cache.entry("archive", "another"));
            drop(others.await.expect("there is a thread for it").unwrap());
            drop(held);
            timeout(Duration::from_secs(20), waiting).await.expect("each has its turn");
        });
    }

    #[tokio::test]
    async fn the_oldest_goes_first_and_what_is_in_use_stays() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(root.path().to_owned(), 2_500);
        let mut directories = Vec::new();
        for (idx, key) in ["used", "old", "new"].iter().enumerate() {
            let entry = cache.entry("git", key).await.unwrap();
            fs::write(entry.directory.join("pack"), vec![0; 1_000]).unwrap();
            let lock = File::open(entry.directory.join(LOCK)).unwrap();
            lock.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(idx as u64)).unwrap();
            directories.push(entry.directory.clone());
        }
        let lock = File::open(directories[0].join(LOCK)).unwrap();
        lock.lock().unwrap();
        // What a worker has left that was killed when it took an entry away.
        let left = directories[1].with_extension(GONE);
        fs::create_dir(&left).unwrap();
        fs::write(left.join("pack"), vec![0; 1_000]).unwrap();
        cache.shrink().await;
        let there: Vec<_> = directories.iter().map(|directory| directory.exists()).collect();
        assert_eq!((there, left.exists()), (vec![true, false, true], false));
    }
}
