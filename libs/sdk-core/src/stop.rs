use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

/// Why user code is to stop. A graver one replaces a lesser one, never the reverse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// It is not to stop.
    #[default]
    Go,
    /// Its time is over: stop it and report `timed_out`.
    TimedOut,
    /// Someone asked: stop it within `grace` and report `cancelled`.
    Cancel {
        /// One sentence for people.
        message: String,
        /// How long the code has before it is killed.
        grace: Duration,
    },
    /// This process ends, and the code did not end in time; or the server, or a proxy before it, refuses the process.
    Shutdown,
    /// The run is no longer this process's: stop it and report nothing.
    Lost {
        /// One sentence for people.
        message: String,
    },
}

impl Stop {
    const fn gravity(&self) -> u8 {
        match self {
            Self::Go => 0,
            Self::TimedOut => 1,
            Self::Cancel { .. } => 2,
            Self::Shutdown => 3,
            Self::Lost { .. } => 4,
        }
    }
}

/// The side of the core: says stop.
#[derive(Clone, Debug)]
pub(crate) struct StopSender(Arc<watch::Sender<Stop>>);

impl StopSender {
    pub(crate) fn new() -> (Self, StopSignal) {
        let (sender, receiver) = watch::channel(Stop::Go);
        (Self(Arc::new(sender)), StopSignal(receiver))
    }

    /// Tells the code to stop, unless it was told something graver.
    pub(crate) fn send(&self, stop: Stop) {
        self.0.send_if_modified(|current| {
            let graver = stop.gravity() > current.gravity();
            if graver {
                *current = stop;
            }
            graver
        });
    }

    /// Forgets a timeout: another attempt begins.
    pub(crate) fn clear_timeout(&self) {
        self.0.send_if_modified(|current| {
            if *current == Stop::TimedOut {
                *current = Stop::Go;
            }
            false
        });
    }

    /// Completes when nobody listens any more: the attempt is over.
    pub(crate) async fn nobody_listens(&self) {
        self.0.closed().await;
    }
}

/// The side of the executor: hears stop.
#[derive(Clone, Debug)]
pub struct StopSignal(watch::Receiver<Stop>);

impl StopSignal {
    /// What has been said so far.
    pub fn now(&self) -> Stop {
        self.0.borrow().clone()
    }

    /// As [`StopSignal::now`]; what it gives does not come out of [`StopSignal::next`] again.
    pub fn heard(&mut self) -> Stop {
        self.0.borrow_and_update().clone()
    }

    /// Completes with the next thing that is said, or with what was said and not yet heard. Never completes
    /// when nothing more can come. Cancellation-safe.
    pub async fn next(&mut self) -> Stop {
        loop {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
            let stop = self.0.borrow_and_update().clone();
            if stop != Stop::Go {
                return stop;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_graver_word_stays() {
        let (sender, mut signal) = StopSender::new();
        sender.send(Stop::Lost { message: "gone".into() });
        sender.send(Stop::TimedOut);
        assert_eq!(signal.next().await, Stop::Lost { message: "gone".into() });
        assert_eq!(signal.now(), Stop::Lost { message: "gone".into() });
    }

    #[tokio::test]
    async fn what_was_heard_does_not_come_again() {
        let (sender, mut signal) = StopSender::new();
        sender.send(Stop::TimedOut);
        assert_eq!(signal.heard(), Stop::TimedOut);
        sender.send(Stop::Shutdown);
        assert_eq!(signal.next().await, Stop::Shutdown);
    }
}
