use std::time::Duration;

use tidegate_store::{FeedCursor, RunStore, StoreError};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::wait::Waits;

/// The slow poll behind the wake-ups, which may be lost.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
const PAGE_SIZE: usize = 1_000;

/// Follows the feed of all events and wakes the waiters of this process, until `stop`.
pub(crate) async fn run(store: &dyn RunStore, waits: &Waits, stop: CancellationToken) {
    let mut cursor = None;
    while !stop.is_cancelled() {
        tidegate_pulse::beat();
        let Some(followed) = stop.run_until_cancelled(follow(store, waits, &mut cursor)).await else {
            return;
        };
        if let Err(error) = followed {
            tracing::warn!(%error, "the feed of events broke off, trying again");
            let _ = stop.run_until_cancelled(tokio::time::sleep(Duration::from_millis(500))).await;
        }
    }
}

async fn follow(
    store: &dyn RunStore,
    waits: &Waits,
    cursor: &mut Option<FeedCursor>,
) -> Result<(), StoreError> {
    let mut commits = store.commits();
    let mut position = match cursor.take() {
        Some(position) => position,
        None => store.feed_end().await?,
    };
    loop {
        // Seen before reading, so that a commit during the read wakes the next turn.
        commits.mark_unchanged();
        loop {
            tidegate_pulse::beat();
            let page = match store.read_feed(&position, None, PAGE_SIZE).await {
                Ok(page) => page,
                Err(error) => {
                    *cursor = Some(position);
                    return Err(error);
                }
            };
            let n_events = page.len();
            if let Some(last) = page.last() {
                position = last.cursor.clone();
            }
            waits.wake(page.into_iter().map(|event| event.event));
            if n_events < PAGE_SIZE {
                break;
            }
        }
        *cursor = Some(position.clone());
        tidegate_pulse::rest(POLL_INTERVAL);
        let _ = timeout(POLL_INTERVAL, commits.changed()).await;
    }
}
