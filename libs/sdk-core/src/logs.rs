use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    Error, clock,
    connection::{Connection, Peer},
    options,
    proto::{self, IngestLogsRequest, LogEntry, log_service_client::LogServiceClient},
    retry::Backoff,
    runtime,
};

/// Lines of one batch: the bound of the protocol.
const MAX_BATCH: usize = 1_000;
/// Bytes of one batch beyond which no further line is added.
const MAX_BATCH_BYTES: usize = 1 << 20;
/// Bytes of unsent lines that are kept; beyond that the oldest are dropped.
const MAX_BUFFER_BYTES: usize = 16 << 20;
/// Batches sent and not acknowledged. While they are under way further lines gather, so a busy writer sends few
/// large batches. The protocol allows 64.
const MAX_IN_FLIGHT: usize = 4;
/// What the store keeps of a message and of a logger's name, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
const MAX_LOGGER_BYTES: usize = 256;
/// What one line takes beside its texts, roughly.
const LINE_OVERHEAD: usize = 160;

/// One line of a run's log.
#[derive(Clone, Debug)]
pub struct LogLine {
    /// The run that wrote it.
    pub run_id: String,
    /// The uppermost run above that; empty: the run itself.
    pub root_run_id: String,
    /// The attempt that wrote it, from 1.
    pub attempt: u32,
    /// How grave it is.
    pub level: proto::LogLevel,
    /// Who wrote it: a logger's name. Cut at 256 bytes.
    pub logger: String,
    /// The text. Cut at 64 KiB.
    pub message: String,
    /// When it was written.
    pub logged_at: SystemTime,
    /// W3C trace context in which it was written, or empty.
    pub traceparent: String,
}

/// Carries log lines to the server without ever making user code wait: a full buffer drops its oldest lines and
/// says how many in a line of its own.
#[derive(Clone)]
pub struct LogWriter {
    buffer: Arc<Buffer>,
    progress: watch::Receiver<u64>,
}

struct Buffer {
    lines: Mutex<Lines>,
    wake: Notify,
    next_seq: AtomicU64,
}

#[derive(Default)]
struct Lines {
    unsent: VecDeque<LogEntry>,
    n_bytes: usize,
    n_dropped: u64,
    /// A line that was dropped: what the note about the loss is written under.
    last_dropped: Option<LogEntry>,
    /// The number of the last line that was accepted into the buffer.
    last_seq: u64,
}

impl LogWriter {
    pub(crate) fn start(connection: Arc<Connection>) -> Self {
        let buffer = Arc::new(Buffer {
            lines: Mutex::new(Lines::default()),
            wake: Notify::new(),
            next_seq: AtomicU64::new(1),
        });
        let (stored, progress) = watch::channel(0);
        let runtime = connection.runtime.clone();
        let sender = Sender {
            connection,
            buffer: Arc::clone(&buffer),
            stored,
            in_flight: VecDeque::new(),
            last_batch_seq: 0,
            backoff: Backoff::standard(),
        };
        runtime::spawn(&runtime, "logs", sender.run());
        Self { buffer, progress }
    }

    /// Puts a line into the buffer. Never waits.
    pub fn write(&self, line: LogLine) {
        let mut parts = line.traceparent.split('-').skip(1);
        let entry = LogEntry {
            run_id: line.run_id,
            root_run_id: line.root_run_id,
            attempt: line.attempt,
            seq: 0,
            logged_at: Some(clock::timestamp_of(line.logged_at)),
            level: line.level.into(),
            logger: cut(line.logger, MAX_LOGGER_BYTES, ""),
            message: cut(line.message, MAX_MESSAGE_BYTES, "… [cut]"),
            trace_id: parts.next().unwrap_or_default().to_owned(),
            span_id: parts.next().unwrap_or_default().to_owned(),
        };
        self.buffer.push(entry);
        self.buffer.wake.notify_one();
    }

    /// Waits until all lines written so far are stored; false when `deadline` passed first.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let last = self.buffer.lock().last_seq;
        let mut progress = self.progress.clone();
        let stored = progress.wait_for(|stored| *stored >= last);
        matches!(timeout(deadline, stored).await, Ok(Ok(_)))
    }
}

impl Buffer {
    fn lock(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, mut entry: LogEntry) {
        let mut lines = self.lock();
        entry.seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        lines.last_seq = entry.seq;
        lines.n_bytes += size_of_entry(&entry);
        lines.unsent.push_back(entry);
        while lines.n_bytes > MAX_BUFFER_BYTES {
            let Some(oldest) = lines.unsent.pop_front() else { break };
            lines.n_bytes -= size_of_entry(&oldest);
            lines.n_dropped += 1;
            lines.last_dropped = Some(oldest);
        }
    }

    /// The next batch; empty when there is nothing to send.
    fn take(&self) -> Vec<LogEntry> {
        let mut lines = self.lock();
        let mut batch = Vec::new();
        if let Some(dropped) = lines.last_dropped.take() {
            let n_dropped = std::mem::take(&mut lines.n_dropped);
            batch.push(note_of_loss(dropped, n_dropped));
        }
        let mut n_bytes = 0;
        while batch.len() < MAX_BATCH && n_bytes < MAX_BATCH_BYTES {
            let Some(entry) = lines.unsent.pop_front() else { break };
            let size = size_of_entry(&entry);
            lines.n_bytes -= size;
            n_bytes += size;
            batch.push(entry);
        }
        batch
    }
}

/// Takes the place and the number of the last dropped line.
fn note_of_loss(dropped: LogEntry, n_dropped: u64) -> LogEntry {
    let message = format!(
        "{n_dropped} log lines of this process were dropped: they came faster than they could be sent"
    );
    LogEntry { level: proto::LogLevel::Warn.into(), logger: "tidegate".into(), message, ..dropped }
}

fn size_of_entry(entry: &LogEntry) -> usize {
    entry.message.len() + entry.logger.len() + LINE_OVERHEAD
}

fn cut(mut text: String, max: usize, mark: &str) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max - mark.len()));
        text.push_str(mark);
    }
    text
}

struct Batch {
    seq: u64,
    entries: Vec<LogEntry>,
}

struct Sender {
    connection: Arc<Connection>,
    buffer: Arc<Buffer>,
    stored: watch::Sender<u64>,
    in_flight: VecDeque<Batch>,
    /// The number of the last batch of the current stream.
    last_batch_seq: u64,
    backoff: Backoff,
}

impl Sender {
    async fn run(mut self) {
        let writer_id = format!("{}:{}:{}", options::host(), std::process::id(), uuid::Uuid::now_v7());
        let buffer = Arc::clone(&self.buffer);
        loop {
            // Nothing is opened before there is something to send.
            if self.in_flight.is_empty() {
                self.fill();
            }
            if self.in_flight.is_empty() {
                tokio::select! {
                    () = buffer.wake.notified() => continue,
                    () = self.stored.closed() => return, // all writers are gone
                }
            }
            let error = match self.stream(&writer_id).await {
                Ok(()) => continue,
                Err(error) => error,
            };
            if error.is_invalid_argument() {
                // Repeating it would fail for ever.
                if let Some(batch) = self.in_flight.pop_front() {
                    tracing::warn!("{} log lines were refused: {error}", batch.entries.len());
                    self.note_stored(&batch);
                }
            }
            let pause = error.retry_after().unwrap_or_else(|| self.backoff.next());
            tracing::debug!("the log stream broke: {error}; next try in {pause:?}");
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stored.closed() => return,
            }
        }
    }

    fn fill(&mut self) {
        let entries = self.buffer.take();
        if !entries.is_empty() {
            self.in_flight.push_back(Batch { seq: 0, entries }); // numbered when the stream opens
        }
    }

    fn note_stored(&self, batch: &Batch) {
        let last = batch.entries.last().map_or(0, |entry| entry.seq);
        self.stored.send_modify(|stored| *stored = (*stored).max(last));
    }

    /// Sends until the stream breaks; `Ok` when the server closed it in order. What is not acknowledged stays in
    /// flight, and is sent again with the same line numbers.
    async fn stream(&mut self, writer_id: &str) -> Result<(), Error> {
        let channel = self.connection.peer(Peer::LogIngest).await?;
        let (requests, outgoing) = mpsc::channel(MAX_IN_FLIGHT);
        let mut client = LogServiceClient::new(channel);
        let connection = Arc::clone(&self.connection);
        let namespace = connection.options.namespace.clone();
        let message = |batch: &Batch| IngestLogsRequest {
            namespace: namespace.clone(),
            batch_seq: batch.seq,
            writer_id: writer_id.to_owned(),
            entries: batch.entries.clone(),
        };
        self.last_batch_seq = 0; // numbers begin anew with each stream
        for batch in &mut self.in_flight {
            self.last_batch_seq += 1;
            batch.seq = self.last_batch_seq;
            let _ = requests.try_send(message(batch)); // in_flight is never longer than the channel
        }
        let opened = client.ingest_logs(ReceiverStream::new(outgoing)).await;
        let mut acks = opened.map_err(|status| Error::from_status(&status))?.into_inner();
        let buffer = Arc::clone(&self.buffer);
        loop {
            let has_room = self.in_flight.len() < MAX_IN_FLIGHT;
            tokio::select! {
                ack = acks.message() => match ack {
                    Ok(Some(ack)) => {
                        self.backoff.reset();
                        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.seq <= ack.acked_batch_seq) {
                            self.note_stored(&batch);
                        }
                        self.send_next(&requests, &message);
                    }
                    Ok(None) => return Err(Error::new(crate::ErrorKind::Unavailable, "the server closed the log stream")),
                    Err(status) => return Err(Error::from_status(&status)),
                },
                () = buffer.wake.notified(), if has_room => self.send_next(&requests, &message),
                () = self.stored.closed() => return Ok(()),
            }
        }
    }

    fn send_next(
        &mut self,
        requests: &mpsc::Sender<IngestLogsRequest>,
        message: &impl Fn(&Batch) -> IngestLogsRequest,
    ) {
        while self.in_flight.len() < MAX_IN_FLIGHT {
            let entries = self.buffer.take();
            if entries.is_empty() {
                return;
            }
            self.last_batch_seq += 1;
            let batch = Batch { seq: self.last_batch_seq, entries };
            let _ = requests.try_send(message(&batch)); // a broken stream is seen by its reader
            self.in_flight.push_back(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(run_id: &str, message: String) -> LogEntry {
        LogEntry { run_id: run_id.into(), message, ..Default::default() }
    }

    fn buffer() -> Buffer {
        Buffer { lines: Mutex::new(Lines::default()), wake: Notify::new(), next_seq: AtomicU64::new(1) }
    }

    #[test]
    fn a_full_buffer_drops_its_oldest_lines_and_says_how_many() {
        let buffer = buffer();
        let line = "x".repeat(MAX_MESSAGE_BYTES);
        let n_lines = MAX_BUFFER_BYTES / MAX_MESSAGE_BYTES + 50;
        for n in 0..n_lines {
            buffer.push(entry(&format!("run {n}"), line.clone()));
            assert!(buffer.lock().n_bytes <= MAX_BUFFER_BYTES, "memory has its bound");
        }
        let n_kept = buffer.lock().unsent.len();
        let note = buffer.take().remove(0);
        let n_dropped = n_lines - n_kept;
        assert!(
            note.message.starts_with(&format!("{n_dropped} log lines of this process were dropped")),
            "{note:?}"
        );
        assert_eq!(
            note.run_id,
            format!("run {}", n_dropped - 1),
            "in the place of the last one that is missing"
        );
        assert!(buffer.take().iter().all(|entry| entry.message == line), "it is said once");
    }

    #[test]
    fn a_long_line_is_cut_with_a_mark() {
        let text = format!("first\nsecond {}", "é".repeat(MAX_MESSAGE_BYTES));
        let cut = cut(text, MAX_MESSAGE_BYTES, "… [cut]");
        assert!(
            cut.len() <= MAX_MESSAGE_BYTES && cut.starts_with("first\nsecond é") && cut.ends_with("é… [cut]")
        );
    }
}
