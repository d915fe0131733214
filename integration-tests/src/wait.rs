use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `look` gives a value.
///
/// # Panics
/// After `deadline`, with what was waited for.
pub async fn eventually<T, Fut>(what: &str, deadline: Duration, mut look: impl FnMut() -> Fut) -> T
where
    Fut: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(value) = look().await {
            return value;
        }
        assert!(started.elapsed() < deadline, "not within {deadline:?}: {what}");
        sleep(LOOK_INTERVAL).await;
    }
}

/// Waits for `future`.
///
/// # Panics
/// After `deadline`, with what was waited for.
pub async fn within<T>(what: &str, deadline: Duration, future: impl Future<Output = T>) -> T {
    match timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {deadline:?}: {what}"),
    }
}
