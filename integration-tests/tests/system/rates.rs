//! Rates of concurrency limits: no window of time has more starts than it may, whatever dies meanwhile.

use std::time::Duration;

use tidegate_integration_tests::{Suite, within};
use tidegate_sdk::{
    core::{Client, ConcurrencySettings},
    proto::{RateLimit, StateType},
};

crate::on_both_forms!(a_rate_holds_over_any_window_while_the_api_is_killed);

const DEADLINE: Duration = Duration::from_secs(240);
const N_RUNS: i64 = 80;
/// 20 in a second, of which 5 may come at once.
const MAX_STARTS: u32 = 20;
const BURST: u32 = 5;
const INTERVAL_MICROS: i64 = 1_000_000 / MAX_STARTS as i64;

async fn a_rate_holds_over_any_window_while_the_api_is_killed(suite: &mut Suite) {
    let client = suite.client();
    let core = client.core();
    let rate = RateLimit {
        max_starts: MAX_STARTS,
        period: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        burst: BURST,
    };
    let settings = ConcurrencySettings { rate: Some(rate), ..ConcurrencySettings::default() };
    core.put_concurrency_limit("api=*", settings).await.unwrap();
    let _workers = [suite.worker("rates"), suite.worker("rates")];
    let call = client.task("add").queue("rates").concurrency_limits(["api=a"]);
    let parameters: Vec<(i64, i64)> = (0..N_RUNS).map(|n| (n, 1)).collect();
    let runs = call.delay_many(&parameters).await.unwrap();
    let api = if suite.redis().is_some() { "api" } else { "dev" };
    // Each time some of them have started, and others wait.
    for n_ended in [8, 16] {
        within("some of the runs", DEADLINE, runs[n_ended].result::<i64>()).await.unwrap();
        suite.kill_and_restart(api).await;
    }
    for (run, (n, _)) in runs.iter().zip(&parameters) {
        assert_eq!(within("the end of a run", DEADLINE, run.result::<i64>()).await.unwrap(), n + 1);
    }

    let mut starts = Vec::new();
    for run in &runs {
        starts.extend(starts_of(core, run.id()).await);
    }
    assert!(starts.len() >= runs.len());
    starts.sort_unstable();
    for (first_idx, first) in starts.iter().enumerate() {
        for (n_more, last) in starts[first_idx..].iter().enumerate() {
            let n_allowed = i64::from(BURST) + (last - first) / INTERVAL_MICROS;
            assert!((n_more as i64) < n_allowed, "{} starts within {} us", n_more + 1, last - first);
        }
    }
    let limit = core.get_concurrency_limit("api=a").await.unwrap().limit.unwrap();
    assert_eq!((limit.used_slots, limit.waiting_runs, limit.template.as_str()), (0, 0, "api=*"));
}

/// When a worker got the run, in microseconds: each time took a token.
async fn starts_of(core: &Client, run_id: &str) -> Vec<i64> {
    let events = core.history(run_id).await.unwrap();
    let states = events.into_iter().filter_map(|event| event.state);
    let started = states.filter(|state| state.r#type() == StateType::Pending);
    let at = |time: prost_types::Timestamp| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000;
    started.map(|state| at(state.occurred_at.unwrap())).collect()
}
