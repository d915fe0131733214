//! Where the code of a job comes from.

mod archive;
mod cache;
mod download;
mod git;
mod in_pod;
#[cfg(test)]
mod tests;
mod unpack;

use std::path::{Component, Path, PathBuf};

use tidegate_sdk_core::proto::{ArchiveSource, GitSource, LogLevel, source::Source};

use crate::{backend::StartError, logs::Output, secrets::Secrets};

use cache::Cache;
#[cfg(feature = "containers")]
pub(crate) use in_pod::EXIT_NO_CODE;
pub use in_pod::{FetchSource, fetch_source};

/// Fetches code, and keeps what it has fetched for the next run.
#[derive(Clone, Debug)]
pub struct Sources {
    cache: Cache,
    secrets: Secrets,
}

impl Sources {
    /// Keeps up to `max_bytes` in `cache`.
    pub fn new(cache: PathBuf, secrets: Secrets, max_bytes: u64) -> Self {
        Self { cache: Cache::new(cache, max_bytes), secrets }
    }

    /// Puts the code of a run into `directory`; a path is used where it is. Gives where the entrypoint is looked for.
    ///
    /// # Errors
    /// `Job` where there is no such code, or it must not be had; `Passing` where it cannot be had now.
    pub(crate) async fn fetch(
        &self,
        source: &Source,
        directory: &Path,
        output: &Output,
    ) -> Result<PathBuf, StartError> {
        let code = directory.join("code");
        match source {
            Source::Path(path) => {
                let path = PathBuf::from(path);
                if !path.is_absolute() {
                    return Err(StartError::Job(format!(
                        "the source {} is no absolute path, which it has to be: a worker has no place to start from",
                        path.display()
                    )));
                }
                if !path.is_dir() {
                    return Err(StartError::Job(format!(
                        "the source {} is no directory of this worker's machine",
                        path.display()
                    )));
                }
                Ok(path)
            }
            Source::Git(GitSource { url, .. }) | Source::Archive(ArchiveSource { url, .. }) => {
                output.hinders(&format!("its code is fetched from {}", git::shown(url)));
                let (fetched, found) = self.fetch_into(source, &code).await?;
                output.note(LogLevel::Info, &format!("code: {fetched}"));
                Ok(found)
            }
            Source::Image(_) => self.fetch_into(source, &code).await.map(|(_, found)| found),
        }
    }

    /// Puts code that is fetched into `code`. Gives what it is, and where the entrypoint is looked for.
    ///
    /// # Errors
    /// As for [`Sources::fetch`].
    async fn fetch_into(&self, source: &Source, code: &Path) -> Result<(String, PathBuf), StartError> {
        let (fetched, directory) = match source {
            Source::Git(source) => {
                let commit = git::fetch(source, &self.cache, &self.secrets, code).await?;
                (format!("{} at {commit}", git::shown(&source.url)), &source.directory)
            }
            Source::Archive(source) => {
                archive::fetch(source, &self.cache, code).await?;
                (git::shown(&source.url), &source.directory)
            }
            Source::Path(path) => {
                return Err(StartError::Job(format!(
                    "the source is the path `{path}`: nothing is to be fetched"
                )));
            }
            Source::Image(image) => {
                return Err(StartError::Job(format!(
                    "the source is the image `{image}`, and this worker starts processes: use a pool of docker or kubernetes"
                )));
            }
        };
        self.cache.shrink().await;
        let found = below(code, directory)?;
        if !found.is_dir() {
            return Err(StartError::Job(format!("the source has no directory `{directory}`")));
        }
        Ok((fetched, found))
    }
}

/// A directory of the fetched code.
pub(crate) fn below(code: &Path, directory: &str) -> Result<PathBuf, StartError> {
    let path = Path::new(directory);
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return Err(StartError::Job(format!("the directory `{directory}` of the source leads out of it")));
    }
    Ok(if directory.is_empty() { code.to_owned() } else { code.join(path) })
}
