//! The lines that a container writes, into the log of its run.

use std::time::Duration;

use bollard::{Docker, container::LogOutput, query_parameters::LogsOptions};
use futures::{StreamExt as _, pin_mut};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    super::stamps::{Behind, Taker},
    is_not_there,
};
use crate::logs::{Lines, Stream};

/// How long it is waited before lines are asked for again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Copies the lines of a container.
pub(super) struct Copying {
    pub(super) docker: Docker,
    pub(super) name: String,
    pub(super) taker: Taker,
    /// Cancelled when the container has ended.
    pub(super) ended: CancellationToken,
}

impl Copying {
    /// Until the container has ended and its last line is taken. Where the stream breaks it goes on behind the last line.
    pub(super) async fn copy(self) {
        let mut pause = PAUSES.0;
        loop {
            let had_ended = self.ended.is_cancelled();
            let taken = self.taker.taken();
            let seconds = taken.map_or(0, |taken| i32::try_from(taken.at.as_second()).unwrap_or(i32::MAX));
            let (follow, stdout, stderr, timestamps) = (true, true, true, true);
            let options =
                LogsOptions { follow, stdout, stderr, timestamps, since: seconds, ..Default::default() };
            let most = self.taker.most();
            // The engine counts whole seconds: what was there before comes again.
            let mut behind = Behind::new(taken);
            let mut ones = [Stream::Stdout, Stream::Stderr].map(|stream| (stream, Lines::default()));
            let mut is_broken = false;
            {
                let chunks = self.docker.logs(&self.name, Some(options));
                pin_mut!(chunks);
                while let Some(chunk) = chunks.next().await {
                    let (idx, message) = match chunk {
                        Ok(LogOutput::StdErr { message }) => (1, message),
                        Ok(other) => (0, other.into_bytes()),
                        Err(error) if is_not_there(&error) => return,
                        Err(_) => {
                            is_broken = true;
                            break;
                        }
                    };
                    pause = PAUSES.0;
                    let (stream, lines) = &mut ones[idx];
                    lines.push(&message, most, |line, n_dropped| {
                        self.taker.take(*stream, &mut behind, line, n_dropped);
                    });
                }
            }
            if had_ended && (!is_broken || pause >= PAUSES.1) {
                for (stream, lines) in ones {
                    lines.end(|line, n_dropped| self.taker.take(stream, &mut behind, line, n_dropped));
                }
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}
