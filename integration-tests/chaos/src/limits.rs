//! The concurrency limits that tasks of the load stand under, and whether they held.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::Context as _;
use tidegate_sdk::{
    Client,
    core::ConcurrencySettings,
    proto::{ConcurrencyLimit, RateLimit, RunEvent, StateType},
};
use tokio::time::{Instant, sleep};

use crate::{
    evidence::Evidence,
    judge::{Violation, occurred_at, state_of, taken_at},
    record::What,
    time::Time,
};

/// Of so many tasks in a row, one stands under each limit.
const EVERY: u64 = 100;
/// How long a task works that stands under one.
pub(crate) const WORK: Duration = Duration::from_millis(500);
const N_CUSTOMERS: u64 = 5;

/// A limit of the load. Half of what each allows is in use at the load's rate, so that all of it is after an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    /// Slots that all its tasks share.
    Named,
    /// A template: slots for each of [`N_CUSTOMERS`] keys.
    PerCustomer,
    /// Starts in a second.
    Rate,
}

impl Limit {
    pub const ALL: [Self; 3] = [Self::Named, Self::PerCustomer, Self::Rate];

    /// The limit that the n-th task stands under.
    pub fn of_task(n: u64) -> Option<Self> {
        match n % EVERY {
            66 => Some(Self::Named),
            67 => Some(Self::PerCustomer),
            68 => Some(Self::Rate),
            _ => None,
        }
    }

    /// As it is defined.
    fn name(self) -> &'static str {
        match self {
            Self::Named => "chaos",
            Self::PerCustomer => "customer=*",
            Self::Rate => "chaos-rate",
        }
    }

    /// As the n-th task names it.
    pub fn asked_by(self, n: u64) -> String {
        match self {
            Self::PerCustomer => format!("customer={}", n / EVERY % N_CUSTOMERS),
            Self::Named | Self::Rate => self.name().to_owned(),
        }
    }

    /// What it allows under a load of so many tasks a second.
    fn settings(self, rate: u32) -> ConcurrencySettings {
        let tasks_per_s = f64::from(rate) / EVERY as f64;
        let twice = |used: f64| ((used * 2.0).ceil() as u32).max(1);
        match self {
            Self::Named => twice(tasks_per_s * WORK.as_secs_f64()).max(2).into(),
            Self::PerCustomer => twice(tasks_per_s / N_CUSTOMERS as f64 * WORK.as_secs_f64()).into(),
            Self::Rate => {
                let period = Some(prost_types::Duration { seconds: 1, nanos: 0 });
                let rate = RateLimit { max_starts: twice(tasks_per_s), period, burst: 2 };
                ConcurrencySettings { rate: Some(rate), ..Default::default() }
            }
        }
    }
}

/// Defines all of them.
pub(crate) async fn define(client: &Client, rate: u32) -> anyhow::Result<()> {
    for limit in Limit::ALL {
        let (name, settings) = (limit.name(), limit.settings(rate));
        client
            .core()
            .put_concurrency_limit(name, settings)
            .await
            .with_context(|| format!("define {name}"))?;
    }
    Ok(())
}

/// All of them, once nobody has or wants a slot, or the patience is at its end.
pub(crate) async fn look(client: &Client, patience: Duration) -> anyhow::Result<Vec<ConcurrencyLimit>> {
    let started = Instant::now();
    let mut found = Vec::new();
    for limit in Limit::ALL {
        let name = limit.name();
        found.push(loop {
            let answer = client.core().get_concurrency_limit(name).await;
            let limit = answer.with_context(|| format!("look at {name}"))?.limit;
            let limit = limit.with_context(|| format!("the answer has no limit {name}"))?;
            if (limit.used_slots == 0 && limit.waiting_runs == 0) || started.elapsed() > patience {
                break limit;
            }
            sleep(Duration::from_millis(200)).await;
        });
    }
    Ok(found)
}

/// What broke them.
pub(crate) fn judge(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broken = |rule, text: String| found.push(Violation { rule, text, run_id: None });
    for (limit, asked, keys) in in_use(evidence) {
        if let Some(max_slots) = limit.max_slots {
            let (most, when) = most_at_once(evidence, &keys);
            if most > max_slots as usize {
                broken(
                    "limits",
                    format!("{asked}: {most} tasks at once at {when:?}, with {max_slots} slots"),
                );
            }
        }
        if let Some(rate) = &limit.rate {
            for early in too_early(&claims(evidence, &keys), rate) {
                broken("rates", format!("{asked}: {early}"));
            }
        }
    }
    for ConcurrencyLimit { name, used_slots, waiting_runs, .. } in &evidence.limits {
        if *used_slots > 0 || *waiting_runs > 0 {
            let text = format!("{name}: {used_slots} slots are held at the end, {waiting_runs} runs wait");
            broken("slots", text);
        }
    }
    found
}

/// A line for each limit with slots: how many were in use at once at most.
pub(crate) fn tell(evidence: &Evidence) -> String {
    let lines = in_use(evidence).into_iter().filter_map(|(limit, asked, keys)| {
        let most = most_at_once(evidence, &keys).0;
        let used = match (limit.max_slots, &limit.rate) {
            (Some(max_slots), _) => format!("at most {most} of {max_slots} slots in use at once"),
            (None, Some(rate)) => {
                format!("{} starts, at most {} a second", claims(evidence, &keys).len(), rate.max_starts)
            }
            (None, None) => return None,
        };
        Some(format!("limit {asked:<12}{used}, by {} tasks\n", keys.len()))
    });
    lines.collect()
}

/// Each limit as tasks name it, with the keys of these.
fn in_use(evidence: &Evidence) -> Vec<(&ConcurrencyLimit, String, BTreeSet<&str>)> {
    let mut by_name: BTreeMap<String, (Limit, BTreeSet<&str>)> = BTreeMap::new();
    for key in evidence.accepted.keys() {
        let Some(n) = crate::load::number_of(key) else { continue };
        let Some(limit) = Limit::of_task(n) else { continue };
        by_name.entry(limit.asked_by(n)).or_insert((limit, BTreeSet::new())).1.insert(key);
    }
    let with_state = |(asked, (limit, keys)): (String, (Limit, _))| {
        let state = evidence.limits.iter().find(|state| state.name == limit.name())?;
        Some((state, asked, keys))
    };
    by_name.into_iter().filter_map(with_state).collect()
}

/// How many of the tasks executed at a time at most, and when. An execution counts from when the recorder saw its start
/// until its end; one that was taken from its worker until the event that says so: its slot was held that long.
fn most_at_once(evidence: &Evidence, keys: &BTreeSet<&str>) -> (usize, Time) {
    let mut changes: Vec<(Time, isize)> = Vec::new();
    for key in keys {
        let history = evidence.history_of(key);
        let records = evidence.records.get(*key).map_or(&[][..], Vec::as_slice);
        for start in records.iter().filter(|record| record.what == What::Start) {
            let taken = taken_at(history, start.epoch).filter(|(state, _)| *state != StateType::Completed);
            let ended = || records.iter().find(|r| r.what == What::End && r.epoch == start.epoch);
            let until = taken.map(|(_, at)| at).or_else(|| ended().map(|end| end.at));
            if let Some(until) = until.filter(|until| *until > start.at) {
                changes.extend([(start.at, 1), (until, -1)]);
            }
        }
    }
    changes.sort_unstable(); // at the same time, ends first
    let (mut now, mut most) = (0, (0, Time::ZERO));
    for (at, change) in changes {
        now += change;
        if now > most.0 {
            most = (now, at);
        }
    }
    (most.0.unsigned_abs(), most.1)
}

/// When the tasks were claimed, each time with a token of their rate.
fn claims(evidence: &Evidence, keys: &BTreeSet<&str>) -> Vec<Time> {
    let is_claim = |event: &&RunEvent| state_of(event) == StateType::Pending;
    let histories = keys.iter().flat_map(|key| evidence.history_of(key));
    let mut claims: Vec<Time> = histories.filter(is_claim).map(occurred_at).collect();
    claims.sort_unstable();
    claims
}

/// The claims that came before their token, by the generic cell rate algorithm (ITU-T I.371).
fn too_early(claims: &[Time], rate: &RateLimit) -> Vec<String> {
    let period = rate.period.unwrap_or_default();
    let period = crate::time::of_parts(period.seconds, period.nanos);
    let interval = period / rate.max_starts.max(1);
    let tolerance = interval * rate.burst.saturating_sub(1) + Duration::from_millis(1); // of rounding
    let (mut expected_at, mut found) = (Time::ZERO, Vec::new());
    for claim in claims {
        if *claim + tolerance < expected_at {
            found.push(format!(
                "a start at {claim:?}, {:?} before its token",
                expected_at - *claim - tolerance
            ));
        }
        expected_at = expected_at.max(*claim) + interval;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{event, record};

    /// Three tasks from second 100, 101 and 102, of four seconds each, but the first is taken away after two.
    fn three_of(limit: Limit) -> Evidence {
        let mut evidence = Evidence::default();
        let numbers = (0..100_000_u64).filter(|n| Limit::of_task(*n) == Some(limit));
        for (n, number) in (0..3).zip(numbers.step_by(N_CUSTOMERS as usize)) {
            let (key, run_id) = (crate::load::key_of(number), format!("run-{n}"));
            let mut history = vec![event(1, StateType::Pending, 1), event(2, StateType::Running, 1)];
            history[0].state.as_mut().unwrap().occurred_at = at(100 + n);
            if n == 0 {
                let mut crashed = event(3, StateType::Crashed, 2);
                crashed.state.as_mut().unwrap().occurred_at = at(102);
                history.push(crashed);
            }
            let records = [(What::Start, 100 + n as u64), (What::End, 104 + n as u64)];
            let records = records.map(|(what, at_s)| record(what, 1, 7, at_s)).to_vec();
            evidence.accepted.insert(key.clone(), vec![run_id.clone()]);
            evidence.histories.insert(run_id, history);
            evidence.records.insert(key, records);
        }
        evidence
    }

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn rules(evidence: &Evidence) -> Vec<&'static str> {
        judge(evidence).iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn more_executions_at_once_than_slots_are_found_and_slots_that_stay_held() {
        for limit in [Limit::Named, Limit::PerCustomer] {
            let mut evidence = three_of(limit);
            let mut rules = |max_slots, used_slots| {
                let name = limit.name().to_owned();
                let max_slots = Some(max_slots);
                evidence.limits =
                    vec![ConcurrencyLimit { name, max_slots, used_slots, ..Default::default() }];
                rules(&evidence)
            };
            assert_eq!(rules(2, 0), [""; 0], "{limit:?}");
            assert_eq!(rules(1, 0), ["limits"], "{limit:?}");
            assert_eq!(rules(2, 1), ["slots"], "{limit:?}");
        }
    }

    #[test]
    fn starts_before_their_token_are_found() {
        let mut evidence = three_of(Limit::Rate);
        let mut rules = |max_starts, seconds, burst| {
            let period = Some(prost_types::Duration { seconds, nanos: 0 });
            let rate = Some(RateLimit { max_starts, period, burst });
            let name = Limit::Rate.name().to_owned();
            evidence.limits = vec![ConcurrencyLimit { name, rate, ..Default::default() }];
            rules(&evidence)
        };
        assert_eq!(rules(1, 1, 1), [""; 0]);
        assert_eq!(rules(1, 2, 2), [""; 0], "the second is of the burst, the third comes with its token");
        assert_eq!(rules(1, 2, 1), ["rates", "rates"]);
        assert_eq!(rules(1, 3, 2), ["rates"]);
    }
}
