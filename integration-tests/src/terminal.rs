use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::within;

/// A program that sees a terminal, as a person has it: by `script` of util-linux. It is killed when this is dropped.
pub struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: Arc<Screen>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Screen {
    /// All that was written to it.
    text: Mutex<String>,
    changed: watch::Sender<usize>,
}

impl Terminal {
    /// Starts `program` on a terminal of so many rows and 100 columns.
    ///
    /// # Panics
    /// `script` is not there.
    pub fn start(program: &Path, args: &[&str], env: &[(&str, &str)], n_rows: u16) -> Self {
        let words = [program.to_str().unwrap()].into_iter().chain(args.iter().copied());
        let words: Vec<String> = words.map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        let line = format!("stty rows {n_rows} columns 100; exec {}", words.join(" "));
        let mut command = Command::new("script");
        for (name, _) in std::env::vars() {
            if name.starts_with("TIDEGATE_") || name == "NO_COLOR" {
                command.env_remove(name);
            }
        }
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("script: {error}"));
        let (screen, mut out) = (Arc::<Screen>::default(), child.stdout.take().unwrap());
        let keyboard = child.stdin.take().unwrap();
        let read = {
            let screen = Arc::clone(&screen);
            async move {
                let (mut bytes, mut chunk, mut n_chunks) = (Vec::new(), vec![0; 4096], 0);
                while let Ok(n_read @ 1..) = out.read(&mut chunk).await {
                    bytes.extend_from_slice(&chunk[..n_read]);
                    *screen.text.lock().unwrap() = String::from_utf8_lossy(&bytes).into_owned();
                    n_chunks += 1;
                    screen.changed.send_replace(n_chunks);
                }
                screen.changed.send_replace(usize::MAX);
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the process that it reads")]
        let reader = tokio::spawn(read);
        Self { child, keyboard, screen, reader }
    }

    /// Waits until what was written has `text`, and gives all of it.
    ///
    /// # Panics
    /// It ends without it, or does not write it in time.
    pub async fn shows(&self, text: &str, deadline: Duration) -> String {
        let mut changed = self.screen.changed.subscribe();
        let find = async {
            loop {
                let written = self.screen.text.lock().unwrap().clone();
                if written.contains(text) {
                    return written;
                }
                let is_over = *changed.borrow() == usize::MAX;
                assert!(!is_over && changed.changed().await.is_ok(), "ended without `{text}`: {written:?}");
            }
        };
        within(&format!("`{text}` on the terminal"), deadline, find).await
    }

    /// Types this: `y\r`, or `\x03` for Ctrl-C.
    ///
    /// # Panics
    /// Nobody reads it.
    pub async fn types(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).await.unwrap();
        self.keyboard.flush().await.unwrap();
    }

    /// Waits until the program has ended: its exit code, 128 and more for a signal, and all that was written.
    ///
    /// # Panics
    /// It has not in time.
    pub async fn ended(mut self, deadline: Duration) -> (i32, String) {
        let status = within("the program on the terminal ends", deadline, self.child.wait()).await.unwrap();
        within("the end of what it writes", deadline, self.reader).await.unwrap();
        let written = self.screen.text.lock().unwrap().clone();
        (status.code().expect("script ends by itself"), written)
    }
}
