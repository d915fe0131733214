use async_trait::async_trait;
use tidegate_model::{Namespace, RunId, Timestamp};
use tokio::sync::watch;

use crate::StoreError;

/// How grave a line is, by OpenTelemetry's severity numbers: 1 is finest, 9 INFO, 17 ERROR, 24 gravest; 0 is
/// not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogLevel(u8);

impl LogLevel {
    /// Not given.
    pub const UNSPECIFIED: Self = Self(0);
    /// The gravest.
    pub const MAX: Self = Self(24);

    /// From a severity number; `None` above 24 or below 0.
    pub fn from_number(number: i32) -> Option<Self> {
        u8::try_from(number).ok().map(Self).filter(|level| *level <= Self::MAX)
    }

    /// The severity number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// A line that a run wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The run that wrote it.
    pub run: RunId,
    /// The uppermost run above that; the run itself where there is none.
    pub root: RunId,
    /// The attempt that wrote it.
    pub attempt: u32,
    /// Unique among the lines of its writer, and growing.
    pub seq: u64,
    /// When, by the writer's clock.
    pub logged_at: Timestamp,
    /// How grave.
    pub level: LogLevel,
    /// The logger's name.
    pub logger: String,
    /// The text.
    pub message: String,
    /// W3C trace id in hex.
    pub trace_id: Option<String>,
    /// W3C span id in hex.
    pub span_id: Option<String>,
}

/// Lines of one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// The tenant.
    pub namespace: Namespace,
    /// The process that wrote them, unique in the namespace.
    pub writer: String,
    /// The lines, in the order in which they were written.
    pub lines: Vec<LogLine>,
}

/// Whose lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogScope {
    /// Those of one run.
    Run(RunId),
    /// Those of a run that has none above it, and of all below it.
    Tree(RunId),
}

/// Where a line stands in the order of storing. The order is that of commits as a reader sees them: when a
/// position has been read, no line can appear before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// Grows from one commit to the next.
    pub group: u64,
    /// The place within the commit.
    pub ordinal: u32,
}

impl LogPosition {
    /// Before every line.
    pub const START: Self = Self { group: 0, ordinal: 0 };
}

/// Where a line stands in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageKey {
    /// When the line was written.
    pub logged_at: Timestamp,
    /// Decides between lines of the same time.
    pub position: LogPosition,
}

/// Which lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// Whose.
    pub scope: LogScope,
    /// At least this grave; [`LogLevel::UNSPECIFIED`] is all.
    pub min_level: LogLevel,
    /// With this text in the message, whatever the case (of ASCII letters; others as the database has it).
    pub contains: Option<String>,
    /// Only after this one, where a page came before.
    pub after: Option<PageKey>,
    /// At most so many.
    pub limit: usize,
}

/// A line with its place in the order of storing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLine {
    /// The line.
    pub line: LogLine,
    /// Its place.
    pub position: LogPosition,
}

impl StoredLine {
    /// Its place in the order of time.
    pub fn page_key(&self) -> PageKey {
        PageKey { logged_at: self.line.logged_at, position: self.position }
    }
}

/// A part of a tail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailPage {
    /// The lines, in the order of storing.
    pub lines: Vec<StoredLine>,
    /// Where to go on: past all that was looked at, also where no line was fit.
    pub next: LogPosition,
    /// Whether the limit was reached: there may be more at once.
    pub is_full: bool,
    /// Whether lines are stored that a transaction under way holds back: there will be more in a moment, and
    /// no commit of lines will announce it.
    pub more_soon: bool,
}

/// Stores log lines. Every method may be called at any time from any number of tasks and processes.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Stores lines in one transaction: all or none. A line whose writer has stored its `seq` before is left
    /// out; [`SeqSet`] says how far that memory goes. Returns how many were new. `now` decides the day that
    /// they are kept under.
    async fn append_logs(&self, batches: &[LogBatch], now: Timestamp) -> Result<usize, StoreError>;

    /// Lines by time, oldest first.
    async fn query_logs(&self, query: &LogQuery) -> Result<Vec<StoredLine>, StoreError>;

    /// Lines after `after` in the order of storing; only those that no transaction under way can precede.
    async fn read_log_tail(
        &self,
        namespace: &Namespace,
        scope: LogScope,
        min_level: LogLevel,
        after: LogPosition,
        limit: usize,
    ) -> Result<TailPage, StoreError>;

    /// The position after all that `read_log_tail` would give now.
    async fn log_tail_end(&self) -> Result<LogPosition, StoreError>;

    /// Changes whenever lines were stored, here or by another process. A hint: a slow poll stands behind it.
    fn log_commits(&self) -> watch::Receiver<u64>;

    /// Makes room for the day of `now` and `days_ahead` more, where the store keeps days apart. Lines are
    /// stored without it too, but then they are slower to drop.
    async fn prepare_log_days(&self, now: Timestamp, days_ahead: u32) -> Result<(), StoreError>;

    /// Drops all lines that were stored on days before that of `before`, and forgets writers that have been
    /// silent since. Returns whether anything was dropped.
    async fn drop_logs_before(&self, before: Timestamp) -> Result<bool, StoreError>;
}
