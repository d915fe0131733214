//! Code of a Git repository, by the program `git`.

use std::{
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use tidegate_sdk_core::proto::GitSource;
use tokio::{process::Command, time::timeout};

use super::cache::Cache;
use crate::{
    backend::StartError,
    secrets::{Mask, Secrets},
};

/// How long one step may take: a large repository is fetched once.
const STEP: Duration = Duration::from_secs(600);
/// Where the branch that the repository itself names is kept.
const HEAD: &str = "refs/tidegate/HEAD";
/// Gives the token to `git`, which asks for it on a pipe. It is in no argument and in no file.
const HELPER: &str = "!f() { test \"$1\" = get && echo username=x-access-token && \
                      echo \"password=$TIDEGATE_GIT_TOKEN\"; }; f";

/// Puts the code of `source` into `code`; gives the commit.
///
/// # Errors
/// `Job`: there is no such repository or ref, or no access. `Passing`: it cannot be had now.
pub(super) async fn fetch(
    source: &GitSource,
    cache: &Cache,
    secrets: &Secrets,
    code: &Path,
) -> Result<String, StartError> {
    check(source)?;
    let token = match source.token_secret.as_str() {
        "" => None,
        name => Some(Token::of(name, &source.url, secrets)?),
    };
    // What was fetched with a token is there for those alone who name it.
    let entry = cache.entry("git", &format!("{} {}", source.token_secret, source.url)).await?;
    let repository = entry.directory.join("repo.git");
    let git = Git { source, token, repository: &repository };
    if !repository.join("HEAD").exists() {
        git.must(&["init", "--quiet", "--bare"], &[]).await?;
    }
    // A commit never changes, so one that is there need not be asked for.
    let known = if is_commit(&source.r#ref) { git.commit(&source.r#ref).await? } else { None };
    let commit = match known {
        Some(commit) => commit,
        None => {
            git.update().await?;
            git.resolve().await?
        }
    };
    std::fs::create_dir_all(code)
        .map_err(|error| StartError::Passing(format!("{} cannot be made: {error}", code.display())))?;
    let index = repository.join("export.index");
    let work_tree = format!("--work-tree={}", code.display());
    let index_file = [("GIT_INDEX_FILE", index.as_os_str())];
    let _ = std::fs::remove_file(&index); // of a worker that was killed meanwhile
    git.must(&[&work_tree, "read-tree", &commit], &index_file).await?;
    let exported = git.must(&[&work_tree, "checkout-index", "--all", "--force"], &index_file).await;
    let _ = std::fs::remove_file(&index); // the next export makes it anew anyway
    exported?;
    Ok(commit)
}

/// An address without what may be a secret in it: a password, or a query, which may be a signature.
pub(super) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (rest, query) = match rest.find(['?', '#']) {
        Some(end) => (&rest[..end], "?…"),
        None => (rest, ""),
    };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}{query}", host.rsplit('@').next().unwrap_or_default())
}

/// What opens a repository, and whom it is given to.
struct Token {
    value: String,
    /// Scheme and host. Another host, to which that one leads, does not get it.
    place: String,
}

impl Token {
    fn of(name: &str, url: &str, secrets: &Secrets) -> Result<Self, StartError> {
        let host = |scheme| {
            let authority = url.strip_prefix(scheme)?.split(['/', '?', '#']).next()?;
            authority.rsplit('@').next().filter(|host| !host.is_empty())
        };
        // It becomes a part of a key of Git's settings, some of whose values are executed.
        let is_of_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if let Some(host) = host("https://").or_else(|| host("http://"))
            && !host.chars().all(is_of_host)
        {
            return Err(StartError::Job(format!(
                "`{host}` is no host that a token can be given to: {}",
                shown(url)
            )));
        }
        let place = match (host("https://"), host("http://")) {
            (Some(host), _) => format!("https://{host}"),
            (_, Some(host)) if is_this_machine(host) => format!("http://{host}"),
            _ => {
                return Err(StartError::Job(format!(
                    "the token `{name}` is given over https alone, where nobody can read it, and the repository is {}: \
                     give its address with https://, or no token_secret",
                    shown(url)
                )));
            }
        };
        let value = secrets.get(name).map_err(|error| StartError::Job(error.to_string()))?;
        Ok(Self { value, place })
    }
}

/// What is sent there leaves no machine.
fn is_this_machine(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

fn check(source: &GitSource) -> Result<(), StartError> {
    let GitSource { url, r#ref, .. } = source;
    let is_odd = |text: &str| text.starts_with('-') || text.chars().any(|char| char.is_control());
    if url.is_empty() || is_odd(url) || url.contains("::") {
        return Err(StartError::Job(format!("`{}` is no address of a Git repository", shown(url))));
    }
    if is_odd(r#ref) || r#ref.contains([' ', ':', '^', '~', '?', '*', '[', '\\']) || r#ref.contains("..") {
        return Err(StartError::Job(format!("`{ref}` is no branch, tag or commit", r#ref = r#ref)));
    }
    Ok(())
}

/// A whole hash of a commit.
fn is_commit(name: &str) -> bool {
    matches!(name.len(), 40 | 64) && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

struct Git<'a> {
    source: &'a GitSource,
    token: Option<Token>,
    repository: &'a Path,
}

impl Git<'_> {
    /// All branches and tags as they are now.
    async fn update(&self) -> Result<(), StartError> {
        let url = self.source.url.as_str();
        let head = format!("+HEAD:{HEAD}");
        let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", head.as_str()];
        let fetch = ["fetch", "--quiet", "--prune", "--no-write-fetch-head", "--end-of-options", url];
        let fetched = self.run(&[&fetch[..], &all[..]].concat(), &[]).await?;
        if fetched.status.success() {
            return Ok(());
        }
        let error = String::from_utf8_lossy(&fetched.stderr).into_owned();
        if error.contains("couldn't find remote ref HEAD") {
            // One without commits on the branch that it names first.
            let fetched = self.run(&[&fetch[..], &all[..2]].concat(), &[]).await?;
            if fetched.status.success() {
                return Ok(());
            }
        }
        Err(self.why(&error))
    }

    async fn resolve(&self) -> Result<String, StartError> {
        let name = self.source.r#ref.as_str();
        let candidates = match name {
            "" | "HEAD" => vec![HEAD.to_owned()],
            name if name.starts_with("refs/") => vec![name.to_owned()],
            name => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}"), name.to_owned()],
        };
        for candidate in candidates {
            if let Some(commit) = self.commit(&candidate).await? {
                return Ok(commit);
            }
        }
        let url = shown(&self.source.url);
        Err(StartError::Job(match name {
            "" => format!("the Git repository {url} has no commits"),
            name => format!("the Git repository {url} has no branch, tag or commit `{name}`"),
        }))
    }

    async fn commit(&self, name: &str) -> Result<Option<String>, StartError> {
        let name = format!("{name}^{{commit}}");
        let found = self.run(&["rev-parse", "--verify", "--quiet", "--end-of-options", &name], &[]).await?;
        let commit = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        Ok((found.status.success() && is_commit(&commit)).then_some(commit))
    }

    async fn must(&self, arguments: &[&str], env: &[(&str, &std::ffi::OsStr)]) -> Result<Output, StartError> {
        let output = self.run(arguments, env).await?;
        if output.status.success() {
            Ok(output)
        } else {
            Err(self.why(&String::from_utf8_lossy(&output.stderr)))
        }
    }

    async fn run(&self, arguments: &[&str], env: &[(&str, &std::ffi::OsStr)]) -> Result<Output, StartError> {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(self.repository).args([
            "-c",
            "core.hooksPath=/dev/null",
            "-c",
            "gc.auto=0",
        ]);
        if let Some(Token { value, place }) = &self.token {
            command
                .args(["-c", "credential.helper=", "-c"])
                .arg(format!("credential.{place}.helper={HELPER}"))
                .env("TIDEGATE_GIT_TOKEN", value);
        }
        command
            .args(arguments)
            .envs(env.iter().copied())
            .env("LC_ALL", "C")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ALLOW_PROTOCOL", "https:http:ssh:git:file")
            .env_remove("GIT_ASKPASS")
            .env_remove("SSH_ASKPASS")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -o BatchMode=yes");
        }
        let url = shown(&self.source.url);
        match timeout(STEP, command.output()).await {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(error)) => Err(StartError::Passing(format!(
                "this worker cannot start `git`, which it needs for {url}: {error}"
            ))),
            Err(_) => {
                Err(StartError::Passing(format!("the Git repository {url} was not fetched within {STEP:?}")))
            }
        }
    }

    fn why(&self, stderr: &str) -> StartError {
        let url = shown(&self.source.url);
        let mask = Mask::new(
            [self.source.url.as_str()]
                .into_iter()
                .filter(|raw| **raw != url)
                .chain(self.token.as_ref().map(|token| token.value.as_str())),
        );
        let said = mask.apply(stderr.trim());
        let last =
            said.lines().filter(|line| !line.trim().is_empty()).take(3).collect::<Vec<_>>().join(" / ");
        let has = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
        if has(&[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied",
        ]) || has(&["error: 401", "error: 403", "Access denied"])
        {
            let mend =
                if self.source.token_secret.is_empty() { "name a `token_secret`" } else { "check its token" };
            return StartError::Job(format!("no access to the Git repository {url}: {mend} ({last})"));
        }
        if has(&[
            "does not appear to be a git repository",
            "epository not found",
            "not found",
            "does not exist",
        ]) {
            return StartError::Job(format!(
                "there is no Git repository {url}, or this worker must not see it ({last})"
            ));
        }
        StartError::Passing(format!("the Git repository {url} cannot be had now: {last}"))
    }
}
