use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::within;

/// A program of this workspace, as cargo built it.
///
/// # Panics
/// It is not there.
pub fn program(name: &str) -> PathBuf {
    let caller = std::env::current_exe().unwrap();
    let folder = caller.parent().unwrap();
    // Tests are in target/debug/deps, programs in target/debug.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let program = folder.join(name);
    assert!(program.exists(), "{} is missing: cargo build --workspace", program.display());
    program
}

/// A process of a test. It is killed when this is dropped; if that is because the test panics, its log is shown.
pub struct Process {
    name: String,
    child: Child,
    out: Arc<Lines>,
    err: Arc<Lines>,
    readers: Vec<JoinHandle<()>>,
}

/// How a process ended, and what it had said.
#[derive(Debug)]
pub struct Ended {
    /// `None`: by a signal.
    pub code: Option<i32>,
    /// Everything on stdout.
    pub stdout: String,
    /// Everything on stderr.
    pub stderr: String,
}

#[derive(Default)]
struct Lines {
    text: Mutex<String>,
    changed: watch::Sender<usize>,
}

impl Process {
    /// Starts `program`, without the variables of the outside that would set up Tidegate.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars() {
            if name.starts_with("TIDEGATE_") || name.starts_with("OTEL_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.args(args).envs(env).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let (out, err) = (Arc::<Lines>::default(), Arc::<Lines>::default());
        let readers = vec![
            read(child.stdout.take().unwrap(), Arc::clone(&out)),
            read(child.stderr.take().unwrap(), Arc::clone(&err)),
        ];
        let name = program.file_name().unwrap().to_string_lossy().into_owned();
        Self { name, child, out, err, readers }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the process has not been waited for")
    }

    /// Waits for a line on stdout that has `text`, and gives it.
    ///
    /// # Panics
    /// It ends without it, or does not write it in time.
    pub async fn line(&self, text: &str, deadline: Duration) -> String {
        wait_for_line(&self.out, text, deadline).await
    }

    /// As [`Process::line`], on stderr.
    ///
    /// # Panics
    /// As there.
    pub async fn log_line(&self, text: &str, deadline: Duration) -> String {
        wait_for_line(&self.err, text, deadline).await
    }

    /// What it has written to stderr so far.
    pub fn log(&self) -> String {
        self.err.text.lock().unwrap().clone()
    }

    /// SIGKILL: it has no chance to say goodbye.
    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Sends a signal by its name: `TERM`, `INT`, `STOP`.
    pub fn signal(&self, name: &str) {
        let sent =
            std::process::Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(sent.unwrap().success(), "kill -{name} {}", self.name);
    }

    /// Waits until it has ended.
    ///
    /// # Panics
    /// It has not in time.
    pub async fn ended(mut self, deadline: Duration) -> Ended {
        let status = within(&format!("{} ends", self.name), deadline, self.child.wait()).await.unwrap();
        for reader in self.readers.drain(..) {
            within("the end of its output", deadline, reader).await.unwrap();
        }
        let text = |lines: &Lines| lines.text.lock().unwrap().clone();
        Ended { code: status.code(), stdout: text(&self.out), stderr: text(&self.err) }
    }

    /// SIGTERM; it must end in order, with exit code 0.
    ///
    /// # Panics
    /// It does not.
    pub async fn stop(self) -> Ended {
        self.signal("TERM");
        let name = self.name.clone();
        let ended = self.ended(Duration::from_secs(30)).await;
        assert_eq!(ended.code, Some(0), "{name} did not end in order:\n{}", ended.stderr);
        ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.len().saturating_sub(8_000);
            let tail = log.ceil_char_boundary(tail);
            eprintln!("--- {} said ---\n{}\n{}", self.name, self.out.text.lock().unwrap(), &log[tail..]);
        }
    }
}

async fn wait_for_line(lines: &Lines, text: &str, deadline: Duration) -> String {
    let mut changed = lines.changed.subscribe();
    let find = async {
        loop {
            let found = {
                let all = lines.text.lock().unwrap();
                all.lines().find(|line| line.contains(text)).map(str::to_owned)
            };
            if let Some(line) = found {
                return line;
            }
            if *changed.borrow() == usize::MAX || changed.changed().await.is_err() {
                let said = lines.text.lock().unwrap().clone(); // a panic must not hold the lock
                panic!("the process ended without `{text}`: {said}");
            }
        }
    };
    within(&format!("a line with `{text}`"), deadline, find).await
}

fn read(stream: impl AsyncRead + Unpin + Send + 'static, lines: Arc<Lines>) -> JoinHandle<()> {
    let read = async move {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        let mut n_lines = 0;
        while stream.read_until(b'\n', &mut line).await.is_ok_and(|n_read| n_read > 0) {
            lines.text.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
            n_lines += 1;
            lines.changed.send_replace(n_lines);
        }
        lines.changed.send_replace(usize::MAX);
    };
    #[expect(clippy::disallowed_methods, reason = "it ends with the process that it reads")]
    tokio::spawn(read)
}
