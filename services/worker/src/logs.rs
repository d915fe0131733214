use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tidegate_sdk_core::{
    Hindrance, LogLine, LogWriter,
    proto::{Assign, LogLevel},
    wall_clock,
};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

use crate::secrets::Mask;

/// Bytes of a line that are kept.
const MAX_LINE: usize = 16 << 10;
/// Lines and bytes of the end of stderr that are told with a failure.
const TAIL: (usize, usize) = (50, 8 << 10);
/// What the worker itself has to say of a run.
const LOGGER: &str = "tidegate.worker";

/// Where a job wrote a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// One of them: who has read it does not tell which.
    Either,
}

/// Puts what is read together to lines. Of one that is too long the beginning is kept.
#[derive(Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    n_dropped: usize,
}

impl Lines {
    /// Takes what was read; `take` gets each line that is whole now, and how many bytes of it are left out.
    pub(crate) fn push(&mut self, chunk: &[u8], most: usize, mut take: impl FnMut(&[u8], usize)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == b'\n');
            let part = &rest[..end.unwrap_or(rest.len())];
            let room = most.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            self.n_dropped += part.len().saturating_sub(room);
            rest = &rest[part.len() + usize::from(end.is_some())..];
            if end.is_some() {
                take(&self.line, self.n_dropped);
                self.line.clear();
                self.n_dropped = 0;
            }
        }
    }

    /// Nothing more comes: what is there is a line, if it is anything.
    pub(crate) fn end(self, mut take: impl FnMut(&[u8], usize)) {
        if !self.line.is_empty() {
            take(&self.line, self.n_dropped);
        }
    }
}

/// Takes what a job writes into the log of its run, without its secrets. Never makes the job wait for the server.
#[derive(Clone)]
pub struct Output {
    writer: LogWriter,
    template: LogLine,
    hindrance: Hindrance,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    mask: Arc<Mask>,
    tail: VecDeque<String>,
    tail_bytes: usize,
}

impl Output {
    /// The log of the run that `assign` gives.
    pub(crate) fn new(writer: LogWriter, assign: &Assign, hindrance: Hindrance) -> Self {
        let template = LogLine {
            run_id: assign.run_id.clone(),
            root_run_id: assign.root_run_id.clone(),
            attempt: assign.attempt,
            level: LogLevel::Info,
            logger: String::new(),
            message: String::new(),
            logged_at: wall_clock(),
            traceparent: assign.traceparent.clone(),
        };
        Self { writer, template, hindrance, shared: Arc::default() }
    }

    /// Hides these values too in all that comes from now on.
    pub fn hide<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) {
        let mut shared = self.lock();
        shared.mask = Arc::new(shared.mask.with(secrets));
    }

    /// Says something about the job itself.
    pub fn note(&self, level: LogLevel, message: &str) {
        let message = self.lock().mask.apply(message);
        self.write(level, LOGGER, message, wall_clock());
    }

    /// Tells those who ask for the run what keeps its job from beginning. Empty: nothing does any more.
    pub(crate) fn hinders(&self, message: &str) {
        let message = self.lock().mask.apply(message);
        self.hindrance.say(&message);
    }

    /// Takes a line that the job wrote.
    pub fn line(&self, stream: Stream, line: &[u8]) {
        self.cut_line(stream, line, 0, wall_clock());
    }

    /// Takes the lines of `reader` until its end.
    pub async fn copy(&self, stream: Stream, reader: impl AsyncRead + Unpin) {
        let mut reader = BufReader::new(reader);
        let mut lines = Lines::default();
        let take = |line: &[u8], n_dropped| self.cut_line(stream, line, n_dropped, wall_clock());
        // What cannot be read any more has ended.
        while let Ok(chunk) = reader.fill_buf().await {
            if chunk.is_empty() {
                break;
            }
            lines.push(chunk, self.longest_line(), take);
            let n_used = chunk.len();
            reader.consume(n_used);
        }
        lines.end(take);
    }

    /// Takes a line that the job wrote at a time that is known; `n_dropped` bytes of it are not there.
    #[cfg(feature = "containers")]
    pub(crate) fn line_at(&self, stream: Stream, line: &[u8], n_dropped: usize, written_at: SystemTime) {
        self.cut_line(stream, line, n_dropped, written_at);
    }

    /// As many bytes of a line are needed: a secret that lies across the cut must be seen as a whole.
    pub(crate) fn longest_line(&self) -> usize {
        MAX_LINE + self.lock().mask.longest()
    }

    /// The end of what the job has written to standard error.
    pub(crate) fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }

    fn cut_line(&self, stream: Stream, line: &[u8], n_dropped: usize, written_at: SystemTime) {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        let mut line = self.lock().mask.apply(&line).replace('\0', "\u{fffd}");
        let n_dropped = n_dropped + line.len().saturating_sub(MAX_LINE);
        if n_dropped > 0 {
            line.truncate(line.floor_char_boundary(MAX_LINE));
            line.push_str(&format!("… [{n_dropped} bytes of this line are left out]"));
        }
        if stream != Stream::Stdout {
            self.keep(&line);
        }
        let (level, logger) = match stream {
            Stream::Stdout | Stream::Either => (LogLevel::Info, "stdout"),
            Stream::Stderr => (LogLevel::Warn, "stderr"),
        };
        self.write(level, logger, line, written_at);
    }

    fn keep(&self, line: &str) {
        let mut shared = self.lock();
        shared.tail_bytes += line.len();
        shared.tail.push_back(line.to_owned());
        while shared.tail.len() > TAIL.0 || (shared.tail_bytes > TAIL.1 && shared.tail.len() > 1) {
            let Some(oldest) = shared.tail.pop_front() else { break };
            shared.tail_bytes -= oldest.len();
        }
    }

    fn write(&self, level: LogLevel, logger: &str, message: String, logged_at: SystemTime) {
        self.writer.write(LogLine {
            level,
            logger: logger.into(),
            message,
            logged_at,
            ..self.template.clone()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
