use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::Instant;

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
