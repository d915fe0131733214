//! Fetching the code of a run where it is executed: a pod has it done by a container of its own before its others.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use nix::sys::stat::{Mode, umask};
use tidegate_sdk_core::proto::{ArchiveSource, GitSource, source::Source};

use super::Sources;
use crate::{backend::StartError, secrets::Secrets};

/// The exit code where there is no such code, or it must not be had: trying again does not help.
pub(crate) const EXIT_NO_CODE: u8 = 65;
/// Bounds what one fetch leaves beside the code until it has ended.
const CACHE_BYTES: u64 = 2 << 30;

/// Fetch the code of a run, as its pod does before it is executed
#[derive(Args, Clone, Debug)]
pub struct FetchSource {
    /// Where it is put; what is beside it under the same name with the ending `.cache` is used meanwhile
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The address of a Git repository
    #[arg(long, value_name = "URL", required_unless_present = "archive", conflicts_with = "archive")]
    git: Option<String>,
    /// Branch, tag or commit [default: what the repository names]
    #[arg(long = "ref", value_name = "REF", default_value = "", hide_default_value = true)]
    reference: String,
    /// The secret with the token that opens the repository: TIDEGATE_SECRET_<NAME>
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    token_secret: String,
    /// The address of an archive
    #[arg(long, value_name = "URL")]
    archive: Option<String>,
    /// The SHA-256 that the archive has
    #[arg(long, value_name = "HEX", default_value = "", hide_default_value = true)]
    sha256: String,
    /// The directory of the code that has to be in it
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    directory: String,
}

impl FetchSource {
    /// The arguments that have `source` fetched to `to`. `None` for one that is not fetched.
    #[cfg(feature = "containers")]
    pub(crate) fn arguments(source: &Source, to: &str) -> Option<Vec<String>> {
        let named = match source {
            Source::Git(GitSource { url, r#ref, directory, token_secret }) => {
                vec![("git", url), ("ref", r#ref), ("directory", directory), ("token-secret", token_secret)]
            }
            Source::Archive(ArchiveSource { url, sha256, directory }) => {
                vec![("archive", url), ("sha256", sha256), ("directory", directory)]
            }
            Source::Path(_) | Source::Image(_) => return None,
        };
        let to = format!("--to={to}");
        let named =
            named.into_iter().filter(|(name, value)| !value.is_empty() || matches!(*name, "git" | "archive"));
        Some([to].into_iter().chain(named.map(|(name, value)| format!("--{name}={value}"))).collect())
    }

    fn source(self) -> Source {
        let Self { git, archive, reference, token_secret, sha256, directory, .. } = self;
        match archive {
            Some(url) => Source::Archive(ArchiveSource { url, sha256, directory }),
            None => {
                let url = git.unwrap_or_default();
                Source::Git(GitSource { url, r#ref: reference, directory, token_secret })
            }
        }
    }
}

/// Fetches code; what is wrong is told on standard error and by the exit code.
pub fn fetch_source(options: FetchSource) -> ExitCode {
    umask(Mode::empty()); // whoever executes it may be another user
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let fetched = match runtime {
        Ok(runtime) => runtime.block_on(fetch(options)),
        Err(error) => Err(StartError::Passing(format!("no runtime can be made: {error}"))),
    };
    match fetched {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if matches!(error, StartError::Job(_)) { EXIT_NO_CODE } else { 1 })
        }
    }
}

async fn fetch(options: FetchSource) -> Result<(), StartError> {
    let (to, cache) = (options.to.clone(), options.to.with_extension("cache"));
    let sources = Sources::new(cache.clone(), Secrets::new("/run/secrets"), CACHE_BYTES);
    let fetched = sources.fetch_into(&options.source(), &to).await;
    let _ = std::fs::remove_dir_all(&cache); // where it cannot go it is in nobody's way
    fetched.map(drop)
}

#[cfg(all(test, feature = "containers"))]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: FetchSource,
    }

    #[test]
    fn arguments_say_all_of_a_source() {
        let git = GitSource {
            url: "https://git.example.com/etl".into(),
            r#ref: "-v1".into(),
            directory: "flows".into(),
            token_secret: "git".into(),
        };
        let archive =
            ArchiveSource { url: "s3://code/etl.zip".into(), sha256: "ab".into(), directory: String::new() };
        let plain = GitSource { url: "u".into(), ..Default::default() };
        for source in [Source::Git(git), Source::Git(plain), Source::Archive(archive)] {
            let arguments = FetchSource::arguments(&source, "/code").unwrap();
            let program = Program::try_parse_from(["p".to_owned()].into_iter().chain(arguments)).unwrap();
            assert_eq!(program.options.to.to_str(), Some("/code"));
            assert_eq!(program.options.source(), source);
        }
        assert!(FetchSource::arguments(&Source::Image("etl:1".into()), "/code").is_none());
        assert!(Program::try_parse_from(["p", "--to=/code"]).is_err());
    }
}
