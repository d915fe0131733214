use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use tidegate_sdk::{Client, Error};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    limits::{self, Limit},
    settings::RunSettings,
    suite::QUEUE,
    worker,
};

/// Calls under way, at most; what would be more is not made, and counted.
const MAX_CALLS: usize = 20_000;
const TICKS_PER_SECOND: u32 = 50;
/// A task may be hit by any number of faults; each must be survived.
const MAX_CRASHES: u32 = 1_000;

/// Fairness keys that take turns.
const N_FAIRNESS_KEYS: u64 = 10;

/// What the callers know.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// The answers to the calls with each key: more than one where it was called twice.
    pub run_ids: BTreeMap<String, Vec<String>>,
    pub calls: Calls,
}

/// What became of all calls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub n_accepted: u64,
    /// Given up for what could pass. They have promised nothing.
    pub n_given_up: u64,
    /// Not made, because too many were under way.
    pub n_not_made: u64,
    /// Refused for good, and why.
    pub refused: Vec<String>,
}

impl Calls {
    pub fn n_wanted(&self) -> u64 {
        self.n_accepted + self.n_given_up + self.n_not_made + self.refused.len() as u64
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { n_accepted, n_given_up, n_not_made, refused } = self;
        let n_refused = refused.len();
        write!(f, "{n_accepted} accepted, {n_given_up} given up, {n_not_made} not made, {n_refused} refused")
    }
}

/// The idempotency key of the n-th task.
pub(crate) fn key_of(n: u64) -> String {
    format!("task-{n}")
}

/// The number of the task with this key.
pub(crate) fn number_of(key: &str) -> Option<u64> {
    key.strip_prefix("task-").and_then(|n| n.parse().ok())
}

/// Makes calls at the rate until the time is over, and waits for the last answers. One task in a hundred each takes a
/// second or two, is due later, fails once, is called twice at the same time, stands under each [`Limit`], requires a
/// label that every other worker has, takes turns by a fairness key, goes before others; one in ten writes a log line.
pub(crate) async fn make(client: Client, settings: RunSettings) -> anyhow::Result<Accepted> {
    let mut accepted = Accepted::default();
    let room = Arc::new(Semaphore::new(MAX_CALLS));
    let mut calls = JoinSet::new();
    let mut ticks = interval(Duration::from_secs(1) / TICKS_PER_SECOND);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + settings.load_lasts();
    let (mut n_made, mut n_wanted) = (0_u64, 0.0);
    while Instant::now() < end {
        ticks.tick().await;
        n_wanted += f64::from(settings.rate) / f64::from(TICKS_PER_SECOND);
        while n_made as f64 + 1.0 <= n_wanted {
            n_made += 1;
            for _ in 0..n_calls(n_made) {
                let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                    accepted.calls.n_not_made += 1;
                    continue;
                };
                let call = call(client.clone(), n_made);
                calls.spawn(async move {
                    let _permit = permit;
                    call.await
                });
            }
        }
        while let Some(answer) = calls.try_join_next() {
            accepted.note(answer?);
        }
    }
    while let Some(answer) = calls.join_next().await {
        accepted.note(answer?);
    }
    Ok(accepted)
}

impl Accepted {
    fn note(&mut self, (key, answer): (String, Result<String, Error>)) {
        match answer {
            Ok(run_id) => {
                self.calls.n_accepted += 1;
                self.run_ids.entry(key).or_default().push(run_id);
            }
            Err(error) if error.is_retryable() => self.calls.n_given_up += 1,
            Err(error) => self.calls.refused.push(format!("{key}: {error}")),
        }
    }
}

fn n_calls(n: u64) -> u32 {
    if n % 100 == 44 { 2 } else { 1 }
}

async fn call(client: Client, n: u64) -> (String, Result<String, Error>) {
    let (key, limit) = (key_of(n), Limit::of_task(n));
    let work_ms = match (limit, n % 100) {
        (Some(_), _) => limits::WORK.as_millis() as u64,
        (None, 7) => 1_000 + n % 1_000,
        (None, _) => 5 + n % 40,
    };
    let task = worker::Told {
        key: key.clone(),
        work_ms,
        n_failures: u32::from(n % 100 == 33),
        writes_a_line: n % 10 == 5,
        requires_label: n % 100 == 88,
    };
    let mut call =
        client.task(worker::TASK).queue(QUEUE).idempotency_key(key.clone()).max_crashes(MAX_CRASHES);
    if task.n_failures > 0 {
        call = call.retries(task.n_failures).retry_delays([Duration::from_millis(500)]);
    }
    if task.requires_label {
        call = call.require_labels([worker::LABEL]);
    }
    if let Some(limit) = limit {
        call = call.concurrency_limits([limit.asked_by(n)]);
    }
    call = match n % 100 {
        21 => call.due_in(Duration::from_millis(1_000 + n % 3_000)),
        77 => call.fairness_key(format!("key-{}", n / 100 % N_FAIRNESS_KEYS)),
        99 => call.priority(10),
        _ => call,
    };
    let answer = call.delay(&task).await;
    (key, answer.map(|handle| handle.id().to_owned()))
}
