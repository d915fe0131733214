use std::time::Duration;

/// How long a slot or a token is kept for whom it was handed out to.
pub const RESERVED_FOR: Duration = Duration::from_secs(5);
/// How long one is remembered that did not come for what was kept for it.
pub const LAPSES_COUNT_FOR: Duration = Duration::from_secs(60);

/// Who is in line for a limit before one that is new.
///
/// A slot that comes free is handed out: the first in line is delivered, and until its claim comes the slot is kept for
/// it, so that no stream of new runs takes it. It is kept for [`RESERVED_FOR`] and no longer: one whose worker has
/// vanished, or that nobody serves, is passed over after that, and a new one may be let through in its place, once: so a
/// line of those that do not come holds up nobody for long, and nobody else loses what is kept for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Those that wait, and were not handed out.
    pub n_waiting: u64,
    /// Those that were handed out, are on their way, and have a slot or a token kept for them.
    pub n_reserved: u64,
    /// Those that were handed out and did not come in time, a while ago at most, and for which no other was let through.
    pub n_lapsed: u64,
}

impl Line {
    /// How much of what is free is kept for those in line.
    pub fn n_kept(self, n_free: u64) -> u64 {
        let n_in_line = self.n_waiting.saturating_add(self.n_reserved);
        n_free.min(n_in_line).saturating_sub(self.n_lapsed)
    }

    /// True where one that is new may take of what is free.
    pub fn lets_through(self, n_free: u64) -> bool {
        n_free > self.n_kept(n_free)
    }

    /// One that is new takes of what is free. True: it was let through for one that did not come, which is used up by that.
    pub fn pass(&mut self, n_free: u64) -> bool {
        let takes_kept = n_free <= self.n_waiting.saturating_add(self.n_reserved);
        self.n_lapsed = self.n_lapsed.saturating_sub(u64::from(takes_kept));
        takes_kept
    }

    /// True where nobody is before one that is new.
    pub fn is_empty(self) -> bool {
        self.n_waiting == 0 && self.n_reserved == 0
    }

    /// One more waits.
    pub fn join(&mut self) {
        self.n_waiting += 1;
    }

    /// One of those in line has got what it waited for, or waits no longer.
    pub fn leave(&mut self) {
        if self.n_reserved > 0 {
            self.n_reserved -= 1;
        } else {
            self.n_waiting = self.n_waiting.saturating_sub(1);
        }
    }
}
