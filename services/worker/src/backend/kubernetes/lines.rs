//! The lines that a pod writes, into the log of its run.

use std::time::Duration;

use futures::AsyncBufReadExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    super::stamps::{Behind, Taker},
    is_not_there,
};
use crate::logs::{Lines, Stream};

/// How long it is waited before lines are asked for again: at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long a stream may go on after its container has ended.
const LAST_CHUNK: Duration = Duration::from_secs(2);

/// Copies the lines of a container.
pub(super) struct Copying {
    pub(super) pods: Api<Pod>,
    pub(super) pod: String,
    pub(super) container: String,
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
            let params = LogParams {
                container: Some(self.container.clone()),
                follow: true,
                timestamps: true,
                since_time: taken.map(|taken| taken.at),
                ..Default::default()
            };
            match self.pods.log_stream(&self.pod, &params).await {
                Ok(mut reader) => {
                    let mut lines = Lines::default();
                    // The server counts whole seconds: what was there before comes again.
                    let mut behind = Behind::new(taken);
                    let most = self.taker.most();
                    let mut take = |line: &[u8], n_dropped| {
                        self.taker.take(Stream::Either, &mut behind, line, n_dropped)
                    };
                    let reading = async {
                        loop {
                            let Ok(chunk) = reader.fill_buf().await else { return false };
                            if chunk.is_empty() {
                                return true;
                            }
                            pause = PAUSES.0;
                            lines.push(chunk, most, &mut take);
                            let n_used = chunk.len();
                            reader.consume_unpin(n_used);
                        }
                    };
                    // A stream that nobody hears of any more has no end of its own.
                    let is_whole = tokio::select! {
                        is_whole = reading => is_whole,
                        () = self.overdue(), if !had_ended => false,
                    };
                    if had_ended && is_whole {
                        return lines.end(take);
                    }
                }
                Err(error) if is_not_there(&error) => return,
                Err(_) if had_ended && pause >= PAUSES.1 => return,
                Err(_) => {}
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// When a stream should have ended with its container.
    async fn overdue(&self) {
        self.ended.cancelled().await;
        sleep(LAST_CHUNK).await;
    }
}
