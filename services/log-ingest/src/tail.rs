//! A tail: stored lines, then new ones as they come.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::Stream;
use metrics::gauge;
use tidegate_model::Namespace;
use tidegate_proto::v1::{TailLogsRequest, TailLogsResponse};
use tidegate_service_kit::CancellationToken;
use tidegate_store::log::{LogLevel, LogPosition, LogScope, LogStore};
use tidegate_wire::Violations;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, sleep_until},
};
use tonic::Status;

use crate::{
    TailConfig,
    convert::{entry_to_proto, parse_level, parse_scope, size_of_line},
    error::Error,
    metrics::TAILS,
    query::MAX_ANSWER,
    token,
};

/// Lines of one answer, at most.
const STEP: usize = 250;

/// One tail. It reads from the store whenever its answers are polled, so a slow reader holds back itself alone.
pub(crate) struct Tail {
    store: Arc<dyn LogStore>,
    stop: CancellationToken,
    poll_interval: Duration,
    min_interval: Duration,
    namespace: Namespace,
    scope: LogScope,
    min_level: LogLevel,
    position: LogPosition,
    commits: watch::Receiver<u64>,
    pause: Pause,
    _place: OwnedSemaphorePermit,
}

/// What to wait for before the next look.
#[derive(Clone, Copy)]
enum Pause {
    /// Nothing: there may be more at once.
    None,
    /// A moment since the look at this time: lines are stored and held back by a transaction under way.
    Moment(Instant),
    /// News of a commit, or a while, since the look at this time.
    News(Instant),
}

impl Tail {
    /// Checks the request and settles where the tail begins: a line that is stored after this is not missed.
    pub(crate) async fn open(
        request: &TailLogsRequest,
        store: Arc<dyn LogStore>,
        config: &TailConfig,
        stop: CancellationToken,
        place: OwnedSemaphorePermit,
    ) -> Result<Self, Status> {
        let namespace = tidegate_wire::namespace(&request.namespace)?;
        let mut violations = Violations::default();
        let scope = parse_scope(&request.run_id, &request.root_run_id, &mut violations);
        let min_level = parse_level("min_level", request.min_level, &mut violations);
        let resume = token::read_resume(&request.resume_token);
        if resume.is_none() && !request.resume_token.is_empty() {
            violations.add("resume_token", "was not given out by TailLogs");
        }
        let (Some(scope), Some(min_level), true) = (scope, min_level, violations.is_empty()) else {
            return Err(tidegate_wire::invalid(violations.into_vec()));
        };
        let commits = store.log_commits();
        let position = match resume {
            Some(position) => position,
            None if request.only_new => {
                store.log_tail_end().await.map_err(|error| tidegate_wire::to_status(&error))?
            }
            None => LogPosition::START,
        };
        gauge!(TAILS).increment(1.0);
        Ok(Self {
            store,
            stop,
            poll_interval: *config.poll_interval,
            min_interval: *config.min_interval,
            namespace,
            scope,
            min_level,
            position,
            commits,
            pause: Pause::None,
            _place: place,
        })
    }

    /// The answers. They end only with an error.
    pub(crate) fn answers(self) -> Pin<Box<dyn Stream<Item = Result<TailLogsResponse, Status>> + Send>> {
        Box::pin(futures::stream::unfold(Some(self), |tail| async move {
            let mut tail = tail?;
            match tail.next().await {
                Ok(response) => Some((Ok(response), Some(tail))),
                Err(status) => Some((Err(status), None)),
            }
        }))
    }

    async fn next(&mut self) -> Result<TailLogsResponse, Status> {
        loop {
            let stop = self.stop.clone();
            if stop.run_until_cancelled(self.wait()).await.is_none() {
                return Err(tidegate_wire::to_status(&Error::Draining));
            }
            // Registered for the next commit before looking: one in between is not missed.
            self.commits.borrow_and_update();
            let answer = self.look().await?;
            if !answer.entries.is_empty() {
                return Ok(answer);
            }
        }
    }

    async fn wait(&mut self) {
        match self.pause {
            Pause::None => {}
            Pause::Moment(looked_at) => sleep_until(looked_at + self.min_interval).await,
            Pause::News(looked_at) => {
                tokio::select! {
                    // The store holds the sender, and we hold the store.
                    _ = self.commits.changed() => {}
                    () = sleep(self.poll_interval) => {}
                }
                // News may be of any run, and come often.
                sleep_until(looked_at + self.min_interval).await;
            }
        }
    }

    async fn look(&mut self) -> Result<TailLogsResponse, Status> {
        let looked_at = Instant::now();
        let page = self
            .store
            .read_log_tail(&self.namespace, self.scope, self.min_level, self.position, STEP)
            .await
            .map_err(|error| tidegate_wire::to_status(&error))?;
        self.pause = match (page.is_full, page.more_soon) {
            (true, _) => Pause::None,
            (false, true) => Pause::Moment(looked_at),
            (false, false) => Pause::News(looked_at),
        };
        self.position = page.next;
        let mut entries = Vec::with_capacity(page.lines.len());
        let mut n_bytes = 0;
        let n_lines = page.lines.len();
        for (line_idx, stored) in page.lines.into_iter().enumerate() {
            let position = stored.position;
            n_bytes += size_of_line(&stored.line);
            entries.push(entry_to_proto(stored));
            if n_bytes >= MAX_ANSWER && line_idx + 1 < n_lines {
                // The answer is large enough: the rest is read again for the next one.
                self.position = position;
                self.pause = Pause::None;
                break;
            }
        }
        Ok(TailLogsResponse { entries, resume_token: token::write_resume(self.position) })
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        gauge!(TAILS).decrement(1.0);
    }
}
