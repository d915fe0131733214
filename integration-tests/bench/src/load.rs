use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tidegate_integration_tests::eventually;
use tidegate_sdk::Client;
use tokio::time::Instant;

/// How long a step may take before a bench gives up.
const DEADLINE: Duration = Duration::from_secs(120);

/// Carries out `work` with up to `n_in_flight` at a time, and gives the answers and how long all of it took.
pub(crate) async fn drive<T, E, F>(
    work: impl IntoIterator<Item = F>,
    n_in_flight: usize,
) -> Result<(Vec<T>, Duration), E>
where
    F: Future<Output = Result<T, E>>,
{
    let started = Instant::now();
    let work = work.into_iter();
    let mut answers = Vec::with_capacity(work.size_hint().0);
    let mut done = stream::iter(work).buffer_unordered(n_in_flight);
    while let Some(answer) = done.try_next().await? {
        answers.push(answer);
    }
    Ok((answers, started.elapsed()))
}

/// Waits until the api counts so many runs of a filter.
pub(crate) async fn until_counted(client: &Client, filter: &str, n_runs: usize) {
    eventually(&format!("{n_runs} runs with {filter}"), DEADLINE, async || {
        let counted = client.core().count_runs(filter).await.ok()?;
        (counted.count == n_runs as u64).then_some(())
    })
    .await;
}
