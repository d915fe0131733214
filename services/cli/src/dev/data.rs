use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

/// The folder of the embedded database, held by this process alone until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    /// The operating system gives the lock back when the process ends, however it ends.
    _lock: File,
}

impl DataFolder {
    /// Makes the folder where it is missing, and takes it.
    ///
    /// # Errors
    /// It cannot be made or written to, or another process has it.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(path).with_context(|| {
            format!("cannot make the data folder {}: choose another with --data", path.display())
        })?;
        let name = path.join("tidegate.lock");
        let lock =
            File::options().create(true).truncate(false).write(true).open(&name).with_context(|| {
                format!("cannot write to the data folder {}: choose another with --data", path.display())
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => bail!(
                "another `tidegate dev` uses the data folder {}: end it, or choose another with --data or --ephemeral",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", name.display()))
            }
        }
    }

    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        self.path.join("tidegate.db")
    }
}

/// `$XDG_DATA_HOME/tidegate`, or `~/.local/share/tidegate`.
///
/// # Errors
/// Neither variable says where.
pub fn default_folder() -> anyhow::Result<PathBuf> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = of("XDG_DATA_HOME").or_else(|| of("HOME").map(|home| home.join(".local/share")));
    let base =
        base.context("neither XDG_DATA_HOME nor HOME says where data belongs: choose a folder with --data")?;
    Ok(base.join("tidegate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/data");
        let first = DataFolder::take(&path).unwrap();
        let error = DataFolder::take(&path).unwrap_err().to_string();
        assert!(error.starts_with("another `tidegate dev` uses the data folder"), "{error}");
        drop(first);
        DataFolder::take(&path).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = DataFolder::take(&file.path().join("data")).unwrap_err().to_string();
        assert!(error.contains("--data"), "{error}");
    }
}
