//! Code that comes over a network, from a server that asks for a token.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use tidegate_sdk_core::proto::{ArchiveSource, GitSource};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{archive, cache::Cache, git};
use crate::{backend::StartError, secrets::Secrets};

const TOKEN: &str = "s3cret-token";
/// `x-access-token` with the token, as basic authentication says it.
const CREDENTIALS: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0LXRva2Vu";

/// A web server that gives the files of a directory to whom it knows, or leads to another address.
struct Web {
    host: String,
    /// The credentials of each request.
    seen: Arc<Mutex<Vec<Option<String>>>>,
    _tasks: JoinSet<()>,
}

#[derive(Clone)]
enum Serves {
    Files { root: PathBuf, is_open: bool },
    Redirect(String),
}

impl Web {
    async fn start(serves: Serves) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut tasks, noted) = (JoinSet::new(), Arc::clone(&seen));
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, serves.clone(), Arc::clone(&noted)));
            }
        });
        Self { host, seen, _tasks: tasks }
    }

    fn seen(&self) -> Vec<Option<String>> {
        self.seen.lock().unwrap().clone()
    }
}

/// Answers one request, and closes.
async fn answer(mut stream: TcpStream, serves: Serves, seen: Arc<Mutex<Vec<Option<String>>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let name = "authorization: ";
    let given = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
    let given = given.map(|line| line[name.len()..].to_owned());
    seen.lock().unwrap().push(given.clone());
    let response = match serves {
        Serves::Redirect(to) => with_body(&format!("302 Found\r\nLocation: {to}{path}"), b""),
        Serves::Files { is_open: false, .. } if given.as_deref() != Some(CREDENTIALS) => {
            with_body("401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"code\"", b"")
        }
        Serves::Files { root, .. } => {
            match fs::read(root.join(path.split('?').next().unwrap().trim_start_matches('/'))) {
                Ok(content) => with_body("200 OK", &content),
                Err(_) => with_body("404 Not Found", b""),
            }
        }
    };
    // Who does not want all of it may go.
    let _ = stream.write_all(&response).await;
}

fn with_body(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn run_git(dir: &Path, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"];
    let status =
        Command::new("git").args(identity).args(arguments).current_dir(dir).stdout(Stdio::null()).status();
    assert!(status.unwrap().success(), "git {arguments:?}");
}

/// A worker's places, with a repository as a web server gives it.
struct Lab {
    dir: tempfile::TempDir,
    cache: Cache,
    secrets: Secrets,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (origin, secrets) = (dir.path().join("origin"), dir.path().join("secrets"));
        fs::create_dir_all(&origin).unwrap();
        run_git(&origin, &["init", "--quiet"]);
        fs::write(origin.join("version"), "one").unwrap();
        run_git(&origin, &["add", "."]);
        run_git(&origin, &["commit", "--quiet", "-m", "one"]);
        run_git(dir.path(), &["clone", "--quiet", "--bare", "origin", "web/code.git"]);
        run_git(&dir.path().join("web/code.git"), &["update-server-info"]);
        fs::create_dir(&secrets).unwrap();
        fs::write(secrets.join("git-token"), format!("{TOKEN}\n")).unwrap();
        fs::write(secrets.join("old-token"), "wrong-token").unwrap();
        Self { cache: Cache::new(dir.path().join("cache"), 1 << 20), secrets: Secrets::new(secrets), dir }
    }

    fn web(&self) -> PathBuf {
        self.dir.path().join("web")
    }

    /// What the run finds, by this token.
    async fn fetch(&self, url: &str, token_secret: &str) -> Result<String, String> {
        let (url, token_secret) = (url.to_owned(), token_secret.to_owned());
        let source = GitSource { url, token_secret, ..GitSource::default() };
        let code = tempfile::tempdir().unwrap();
        match git::fetch(&source, &self.cache, &self.secrets, code.path()).await {
            Ok(_) => Ok(fs::read_to_string(code.path().join("version")).unwrap()),
            Err(StartError::Job(message) | StartError::Passing(message)) => Err(message),
        }
    }

    async fn unpack(&self, url: &str) -> Result<String, StartError> {
        let code = tempfile::tempdir().unwrap();
        let source = ArchiveSource { url: url.to_owned(), ..ArchiveSource::default() };
        archive::fetch(&source, &self.cache, code.path()).await?;
        Ok(fs::read_to_string(code.path().join("version")).unwrap())
    }
}

#[tokio::test]
async fn a_token_opens_a_repository_and_is_told_to_nobody() {
    let lab = Lab::new();
    let web = Web::start(Serves::Files { root: lab.web(), is_open: false }).await;
    let url = format!("http://{}/code.git", web.host);
    assert_eq!(lab.fetch(&url, "git-token").await.as_deref(), Ok("one"));
    assert_eq!(web.seen().last().unwrap().as_deref(), Some(CREDENTIALS));
    for (token, mend) in [("", "name a `token_secret`"), ("old-token", "check its token")] {
        let refused = lab.fetch(&url, token).await.unwrap_err();
        assert!(refused.contains("no access") && refused.contains(mend), "{refused}");
        assert!(!refused.contains("wrong-token"), "{refused}");
    }
    let missing = lab.fetch(&url, "no-such-token").await.unwrap_err();
    assert!(missing.contains("TIDEGATE_SECRET_NO_SUCH_TOKEN"), "{missing}");
    // It is in no file either.
    let found = Command::new("grep").args(["-rl", TOKEN]).arg(lab.dir.path().join("cache")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}

#[tokio::test]
async fn a_token_is_for_one_host_and_not_for_where_that_leads() {
    let lab = Lab::new();
    let other = Web::start(Serves::Files { root: lab.web(), is_open: false }).await;
    let web = Web::start(Serves::Redirect(format!("http://{}", other.host))).await;
    let refused = lab.fetch(&format!("http://{}/code.git", web.host), "git-token").await.unwrap_err();
    assert!(refused.contains("no access"), "{refused}");
    assert!(!other.seen().is_empty(), "it was led there");
    assert_eq!(other.seen().into_iter().flatten().count(), 0);
}

#[tokio::test]
async fn a_token_is_not_given_where_others_could_read_it() {
    let lab = Lab::new();
    for url in
        ["http://git.example.org/code.git", "ssh://git@example.org/code.git", "http://127.0.0.1@evil.org/x"]
    {
        let refused = lab.fetch(url, "git-token").await.unwrap_err();
        assert!(refused.contains("over https alone"), "{refused}");
    }
}

#[tokio::test]
async fn an_address_says_nothing_to_the_settings_of_git() {
    let lab = Lab::new();
    for url in ["https://git.invalid.helper=!id #/x", "https://git.invalid@git.invalid.helper=!id/x"] {
        let refused = lab.fetch(url, "git-token").await.unwrap_err();
        assert!(refused.contains("no host that a token can be given to"), "{refused}");
    }
}

#[tokio::test]
async fn what_came_by_a_token_is_not_there_for_who_has_none() {
    let lab = Lab::new();
    let web = Web::start(Serves::Files { root: lab.web(), is_open: false }).await;
    let url = format!("http://{}/code.git", web.host);
    lab.fetch(&url, "git-token").await.unwrap();
    let origin = lab.dir.path().join("origin");
    let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(origin).output().unwrap();
    let commit = String::from_utf8(head.stdout).unwrap().trim().to_owned();
    let source = GitSource { url, r#ref: commit, ..GitSource::default() };
    let code = tempfile::tempdir().unwrap();
    let refused = git::fetch(&source, &lab.cache, &lab.secrets, code.path()).await;
    assert!(
        matches!(&refused, Err(StartError::Job(message)) if message.contains("no access")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_archive_comes_over_a_network_and_its_signature_is_not_shown() {
    let lab = Lab::new();
    let origin = lab.dir.path().join("origin");
    let packed =
        Command::new("tar").args(["-czf", "../web/code.tar.gz", "version"]).current_dir(origin).status();
    assert!(packed.unwrap().success());
    let web = Web::start(Serves::Files { root: lab.web(), is_open: true }).await;
    let found = lab.unpack(&format!("http://{}/code.tar.gz?signature=s3cret", web.host)).await;
    assert_eq!(found.unwrap(), "one");
    let missing = lab.unpack(&format!("http://u:p4ss@{}/none.zip?signature=s3cret", web.host)).await;
    let Err(StartError::Job(told)) = missing else { panic!("{missing:?}") };
    assert!(told.contains("404") && told.contains("/none.zip"), "{told}");
    assert!(!told.contains("s3cret") && !told.contains("p4ss"), "{told}");

    let host = web.host.clone();
    drop(web);
    let away = lab.unpack(&format!("http://{host}/code.tar.gz?signature=s3cret")).await;
    let Err(StartError::Passing(told)) = away else { panic!("{away:?}") };
    // Refused, or reset by a listener that is just being closed.
    assert!(told.contains(&host) && !told.contains("s3cret"), "{told}");
}

#[test]
fn an_address_is_shown_without_what_is_secret() {
    for (url, shown) in [
        ("https://u:p@example.org/a/b.git", "https://example.org/a/b.git"),
        ("https://example.org/a.zip?X-Signature=1#x", "https://example.org/a.zip?…"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("s3://bucket/key", "s3://bucket/key"),
    ] {
        assert_eq!(git::shown(url), shown);
    }
}
