//! Lines with the time at which they were written before them.

use std::{fmt, str::FromStr, time::SystemTime};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::logs::{Output, Stream};

/// The most bytes that stand before a line: `2026-01-01T00:00:00.000000000Z `.
const STAMP_LEN: usize = 64;

/// How far lines were taken: until this time, and how many of that very time. Some count whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) at: Timestamp,
    n_taken: u64,
}

impl Position {
    /// Behind a line that was written at `at`.
    pub(super) fn behind(before: Option<Self>, at: Timestamp) -> Self {
        match before {
            Some(before) if before.at == at => Self { at, n_taken: before.n_taken + 1 },
            Some(before) if before.at > at => before,
            _ => Self { at, n_taken: 1 },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.at, self.n_taken)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, n_taken) = text.trim().split_once(' ').ok_or(())?;
        Ok(Self { at: at.parse().map_err(drop)?, n_taken: n_taken.parse().map_err(drop)? })
    }
}

/// Tells what comes again.
pub(super) struct Behind {
    last: Option<Position>,
    n_at_last: u64,
}

impl Behind {
    /// Lines until `last` were taken before.
    pub(super) fn new(last: Option<Position>) -> Self {
        Self { last, n_at_last: 0 }
    }

    /// Lines come in their order, so the first one that is new ends the repetition.
    pub(super) fn is_new(&mut self, written_at: Option<Timestamp>) -> bool {
        let (Some(last), Some(written_at)) = (self.last, written_at) else { return true };
        if written_at == last.at {
            self.n_at_last += 1;
        }
        let is_repeated = written_at < last.at || (written_at == last.at && self.n_at_last <= last.n_taken);
        if !is_repeated {
            self.last = None;
        }
        !is_repeated
    }
}

/// Takes stamped lines into the log of a run.
pub(super) struct Taker {
    pub(super) output: Output,
    /// How far they were taken: goes on behind that.
    pub(super) until: watch::Sender<Option<Position>>,
}

impl Taker {
    /// Takes a line, unless it was taken before; `n_dropped` bytes of it are left out.
    pub(super) fn take(&self, stream: Stream, behind: &mut Behind, line: &[u8], n_dropped: usize) {
        let (written_at, text) = stamped(line);
        if !behind.is_new(written_at) {
            return;
        }
        let at = written_at.map_or_else(tidegate_sdk_core::wall_clock, SystemTime::from);
        self.output.line_at(stream, text, n_dropped, at);
        if let Some(at) = written_at {
            self.until.send_modify(|until| *until = Some(Position::behind(*until, at)));
        }
    }

    /// How far lines were taken.
    pub(super) fn taken(&self) -> Option<Position> {
        *self.until.borrow()
    }

    /// The most bytes of a line that are read: its stamp, and what is kept of it.
    pub(super) fn most(&self) -> usize {
        self.output.longest_line() + STAMP_LEN
    }
}

/// When a line was written, and its text.
fn stamped(line: &[u8]) -> (Option<Timestamp>, &[u8]) {
    let Some(end) = line.iter().take(STAMP_LEN).position(|byte| *byte == b' ') else { return (None, line) };
    match std::str::from_utf8(&line[..end]).ok().and_then(|stamp| stamp.parse().ok()) {
        Some(written_at) => (Some(written_at), &line[end + 1..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_time_before_it() {
        let (written_at, text) = stamped(b"2026-01-01T00:00:00.123456789Z a b");
        assert_eq!((written_at.unwrap().subsec_nanosecond(), text), (123_456_789, b"a b".as_slice()));
        assert_eq!(stamped(b"unable to retrieve logs"), (None, b"unable to retrieve logs".as_slice()));
        assert_eq!(stamped(b"2026-01-01T00:00:00Z ").1, b"");
    }

    #[test]
    fn what_was_there_before_the_break_is_left_out() {
        let at = |n: i64| Timestamp::from_second(n).unwrap();
        let taken =
            [4, 5, 5].into_iter().fold(None, |before, n| Some(Position::behind(before, at(n)))).unwrap();
        let read: Position = taken.to_string().parse().unwrap();
        assert_eq!(read, taken);
        let mut behind = Behind::new(Some(read));
        let told: Vec<_> = [4, 5, 5, 5, 6, 5].into_iter().map(|n| behind.is_new(Some(at(n)))).collect();
        assert_eq!(told, [false, false, false, true, true, true]);
        assert!(Behind::new(None).is_new(Some(at(1))));
    }
}
