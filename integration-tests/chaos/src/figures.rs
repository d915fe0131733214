//! Figures for the reader: they are told, not judged.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    time::Duration,
};

use crate::{
    evidence::{Evidence, Happened},
    judge, limits,
    record::What,
    time::Time,
};

/// How wide a look at the rate of finishes is, and how often one is taken.
const WINDOW: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(100);
/// Below this part of the load's rate the finishes of a window count as held up.
const HELD_UP: f64 = 0.7;
/// So long without a window that is held up means that the rate is back.
const STEADY: Duration = Duration::from_secs(1);

/// All figures as text. The load lasted from `start` to `end`; no fault came before `calm_end`.
pub(crate) fn tell(evidence: &Evidence, rate: f64, start: Time, calm_end: Time, end: Time) -> String {
    let mut text = String::new();
    let n_accepted = evidence.accepted.len();
    let seconds = end.saturating_sub(start).as_secs_f64();
    let _ = writeln!(text, "accepted tasks    {n_accepted}, {:.0} a second", n_accepted as f64 / seconds);
    let n_starts = evidence.records.values().flatten().filter(|record| record.what == What::Start).count();
    let mut by_extra: BTreeMap<usize, usize> = BTreeMap::new();
    for key in evidence.accepted.keys() {
        let history = evidence.history_of(key);
        let records = evidence.records.get(key).map_or(&[][..], Vec::as_slice);
        let (n_extra, _) = judge::extra_executions(history, records, &evidence.faults);
        *by_extra.entry(n_extra).or_default() += 1;
    }
    let spread: Vec<_> = by_extra.iter().map(|(n_extra, n)| format!("{n} with {n_extra} extra")).collect();
    let _ = writeln!(
        text,
        "executions        {n_starts}, {:.5} per task: {}",
        n_starts as f64 / n_accepted.max(1) as f64,
        spread.join(", ")
    );
    let mut latencies = start_latencies(evidence, start, calm_end);
    let _ = writeln!(
        text,
        "start latency     before the faults: p50 {}, p99 {} of {} tasks",
        quantile(&mut latencies, 0.5),
        quantile(&mut latencies, 0.99),
        latencies.len()
    );
    text.push_str(&limits::tell(evidence));
    let _ = writeln!(text, "recovery          until the rate of finishes is back: median, max, how often");
    let mut ends: Vec<Time> = evidence.runs.values().filter_map(Evidence::ended_at).collect();
    ends.sort_unstable();
    let mut by_kind: BTreeMap<String, Vec<Duration>> = BTreeMap::new();
    for (idx, fault) in evidence.faults.iter().enumerate() {
        let next = evidence.faults[idx + 1..].iter().map(|next| next.from).min().unwrap_or(end);
        by_kind.entry(fault.fault.kind()).or_default().push(recovery(&ends, fault, next.min(end), rate));
    }
    for (kind, mut times) in by_kind {
        times.sort_unstable();
        let (median, max) = (times[times.len() / 2], times[times.len() - 1]);
        let _ = writeln!(
            text,
            "    {kind:32} {:6.1} s {:6.1} s {:4}",
            median.as_secs_f64(),
            max.as_secs_f64(),
            times.len()
        );
    }
    text
}

/// How long after the fault began finishes were back for good: the end of the last window in which they were held up
/// before a whole [`STEADY`] without one. Zero: none was held up. What comes after the next fault is not looked at, so a
/// recovery that takes longer counts until then.
fn recovery(ends: &[Time], fault: &Happened, next: Time, rate: f64) -> Duration {
    let is_held_up = |look: Time| {
        let n_ends =
            ends.partition_point(|end| *end < look + WINDOW) - ends.partition_point(|end| *end < look);
        (n_ends as f64) < rate * WINDOW.as_secs_f64() * HELD_UP
    };
    let (mut look, mut recovered_at) = (fault.from, None);
    while look + WINDOW <= next {
        if is_held_up(look) {
            recovered_at = Some(look + WINDOW);
        } else if look > recovered_at.unwrap_or(fault.until) + STEADY {
            break;
        }
        look += STEP;
    }
    recovered_at.map_or(Duration::ZERO, |at| at - fault.from)
}

/// From creation to the start of the code, of the tasks that were due at once in the calm. The first seconds warm up.
fn start_latencies(evidence: &Evidence, start: Time, calm_end: Time) -> Vec<Duration> {
    let warm = start + Duration::from_secs(2);
    let mut first_starts: HashMap<&str, Time> = HashMap::new();
    for record in evidence.records.values().flatten().filter(|record| record.what == What::Start) {
        let first = first_starts.entry(&record.run_id).or_insert(record.at);
        *first = record.at.min(*first);
    }
    let of_calm = evidence.runs.values().filter_map(|run| {
        let created = Evidence::created_at(run)?;
        let is_delayed = run.due_at != run.created_at;
        let started = first_starts.get(run.id.as_str())?;
        let in_calm = created >= warm && *started < calm_end && !is_delayed;
        in_calm.then(|| started.saturating_sub(created))
    });
    of_calm.collect()
}

fn quantile(latencies: &mut [Duration], q: f64) -> String {
    if latencies.is_empty() {
        return "-".to_owned();
    }
    latencies.sort_unstable();
    let idx = ((latencies.len() - 1) as f64 * q).round() as usize;
    format!("{:.1} ms", latencies[idx].as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Fault;

    /// A hundred finishes a second, but none from second 10 to `back_ms`.
    fn ends(back_ms: u64) -> Vec<Time> {
        let all = (0..3_000_u64).map(|n| Duration::from_millis(n * 10));
        all.filter(|at| !(Duration::from_secs(10)..Duration::from_millis(back_ms)).contains(at)).collect()
    }

    fn wipe(from_s: u64) -> Happened {
        let from = Duration::from_secs(from_s);
        Happened { fault: Fault::WipeRedis, from, until: from, pid: None }
    }

    #[test]
    fn a_recovery_lasts_until_finishes_are_back() {
        let next = Duration::from_secs(29);
        let time = recovery(&ends(12_500), &wipe(10), next, 100.0);
        assert!((2.5..3.0).contains(&time.as_secs_f64()), "{time:?}");
        assert_eq!(recovery(&ends(12_500), &wipe(14), next, 100.0), Duration::ZERO);
    }

    #[test]
    fn an_outage_that_goes_on_is_followed_beyond_the_first_look() {
        let time = recovery(&ends(18_000), &wipe(10), Duration::from_secs(29), 100.0);
        assert!((8.0..8.5).contains(&time.as_secs_f64()), "{time:?}");
    }

    #[test]
    fn a_recovery_that_the_next_fault_hides_counts_until_then() {
        let time = recovery(&ends(12_500), &wipe(10), Duration::from_secs(11), 100.0);
        assert_eq!(time, Duration::from_secs(1));
    }
}
