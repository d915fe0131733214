//! Figures for the reader: they are told, not judged.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    time::Duration,
};

use tidegate_sdk::proto::Run;

use crate::{
    evidence::{Evidence, Happened},
    judge::{self, Extra},
    limits,
    record::What,
    suite::LEASE,
    time::Time,
};

/// How wide a look at the rate of finishes is, and how often one is taken.
const WINDOW: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(100);
/// Below this part of the load's rate the finishes of a window count as held up.
const HELD_UP: f64 = 0.7;
/// So long without a window that is held up means that the rate is back.
const STEADY: Duration = Duration::from_secs(1);
/// So close to a fault, before it or after its part served again, a task counts as accepted around it.
const AROUND: Duration = Duration::from_secs(1);

/// What the faults of a kind cost in time.
#[derive(Debug, Default)]
struct Cost {
    /// Of each fault, as [`recovery`] tells it.
    recoveries: Vec<Duration>,
    /// Of each execution that a fault took away, as [`until_next_start`] tells it.
    restarts: Vec<Duration>,
    /// The longest wait for the first start. It is not cut where the next fault comes, so what several faults in a row cost
    /// counts for each of them.
    longest_wait: Longest,
}

/// Of all tasks that were accepted around a fault, the longest wait. Those that need a slot or a label are kept apart:
/// they wait for each other, or for one worker, after the others are through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Longest {
    any_worker: Duration,
    limited: Duration,
    labelled: Duration,
}

impl Longest {
    fn note(&mut self, wait: &Wait) {
        let longest = match wait.needs {
            Needs::AnyWorker => &mut self.any_worker,
            Needs::Slot => &mut self.limited,
            Needs::Label => &mut self.labelled,
        };
        *longest = wait.lasts().max(*longest);
    }
}

/// All figures as text. The load lasted from `start` to `end`; no fault came before `calm_end`.
pub(crate) fn tell(evidence: &Evidence, rate: f64, start: Time, calm_end: Time, end: Time) -> String {
    let mut text = String::new();
    let n_accepted = evidence.accepted.len();
    let seconds = end.saturating_sub(start).as_secs_f64();
    let _ = writeln!(text, "accepted tasks    {n_accepted}, {:.0} a second", n_accepted as f64 / seconds);
    let n_starts = evidence.records.values().flatten().filter(|record| record.what == What::Start).count();
    let mut by_extra: BTreeMap<usize, usize> = BTreeMap::new();
    let extras = extra_executions(evidence);
    for of_task in &extras {
        *by_extra.entry(of_task.len()).or_default() += 1;
    }
    let spread: Vec<_> = by_extra.iter().map(|(n_extra, n)| format!("{n} with {n_extra} extra")).collect();
    let _ = writeln!(
        text,
        "executions        {n_starts}, {:.5} per task: {}",
        n_starts as f64 / n_accepted.max(1) as f64,
        spread.join(", ")
    );
    let waits = waits(evidence);
    let mut latencies = start_latencies(&waits, start, calm_end);
    let _ = writeln!(
        text,
        "start latency     before the faults: p50 {}, p99 {} of {} tasks",
        quantile(&mut latencies, 0.5),
        quantile(&mut latencies, 0.99),
        latencies.len()
    );
    text.push_str(&limits::tell(evidence));
    let _ = writeln!(
        text,
        "recovery          in seconds, with leases of {LEASE:?}: until the rate of finishes is back; from the fault to \
         the next\n                  start of each task that it took from its worker; the longest wait for a first start \
         around it,\n                  of tasks that any worker takes, that need a slot of a limit, and that need a label"
    );
    text.push_str(
        "                                    |  finishes back |       executed again  |     longest wait\n",
    );
    text.push_str("    fault                    faults |  median    max |  tasks  median    max |   any  limit  label\n");
    for (kind, mut cost) in costs(evidence, &waits, &extras, rate, end) {
        let n_faults = cost.recoveries.len();
        let (median, max) = median_and_max(&mut cost.recoveries);
        let n_restarts = cost.restarts.len();
        let (next_median, next_max) = median_and_max(&mut cost.restarts);
        let Longest { any_worker, limited, labelled } = cost.longest_wait;
        let [any_worker, limited, labelled] = [any_worker, limited, labelled].map(seconds_of);
        let _ = writeln!(
            text,
            "    {kind:26} {n_faults:4} | {median:>7} {max:>6} | {n_restarts:6} {next_median:>7} {next_max:>6} | \
             {any_worker:>5} {limited:>6} {labelled:>6}"
        );
    }
    text
}

/// The extra executions of each accepted task.
fn extra_executions(evidence: &Evidence) -> Vec<Vec<Extra<'_>>> {
    let of_task = |key: &String| {
        let records = evidence.records.get(key).map_or(&[][..], Vec::as_slice);
        judge::extra_executions(evidence.history_of(key), records, &evidence.faults)
    };
    evidence.accepted.keys().map(of_task).collect()
}

/// What the faults of each kind cost.
fn costs(
    evidence: &Evidence,
    waits: &[Wait],
    extras: &[Vec<Extra<'_>>],
    rate: f64,
    end: Time,
) -> BTreeMap<String, Cost> {
    let mut ends: Vec<Time> = evidence.runs.values().filter_map(Evidence::ended_at).collect();
    ends.sort_unstable();
    let mut by_kind: BTreeMap<String, Cost> = BTreeMap::new();
    for (idx, fault) in evidence.faults.iter().enumerate() {
        let next = evidence.faults[idx + 1..].iter().map(|next| next.from).min().unwrap_or(end);
        let cost = by_kind.entry(fault.fault.kind()).or_default();
        cost.recoveries.push(recovery(&ends, fault, next.min(end), rate));
        let around = fault.from.saturating_sub(AROUND)..=fault.until + AROUND;
        waits.iter().filter(|wait| around.contains(&wait.from)).for_each(|wait| cost.longest_wait.note(wait));
    }
    for extra in extras.iter().flatten() {
        let Some(fault) = extra.fault.map(|idx| &evidence.faults[idx]) else { continue };
        let cost = by_kind.entry(fault.fault.kind()).or_default();
        cost.restarts.push(until_next_start(extra, fault));
    }
    by_kind
}

/// How long after the fault that took it from its worker a task started again; after its start, where that worker was
/// cut off already when it began. What a frozen worker begins only after the next one counts from the fault.
fn until_next_start(Extra { before, after, .. }: &Extra<'_>, fault: &Happened) -> Duration {
    let from = if before.at <= after.at { fault.from.max(before.at) } else { fault.from };
    after.at.saturating_sub(from)
}

fn median_and_max(times: &mut [Duration]) -> (String, String) {
    times.sort_unstable();
    let told = |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |time| seconds_of(*time));
    (told(times.get(times.len() / 2)), told(times.last()))
}

fn seconds_of(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
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

/// From the creation of a task to the first start of its code.
#[derive(Debug)]
struct Wait {
    from: Time,
    until: Time,
    needs: Needs,
}

/// What a task needs before it starts, but for a free worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    AnyWorker,
    Slot,
    Label,
}

impl Needs {
    fn of(run: &Run) -> Self {
        match (run.concurrency_limits.is_empty(), run.required_worker_labels.is_empty()) {
            (true, true) => Self::AnyWorker,
            (false, _) => Self::Slot,
            (true, false) => Self::Label,
        }
    }
}

impl Wait {
    fn lasts(&self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}

/// The waits of all tasks that were due at once.
fn waits(evidence: &Evidence) -> Vec<Wait> {
    let mut first_starts: HashMap<&str, Time> = HashMap::new();
    for record in evidence.records.values().flatten().filter(|record| record.what == What::Start) {
        let first = first_starts.entry(&record.run_id).or_insert(record.at);
        *first = record.at.min(*first);
    }
    let of_run = |run: &Run| {
        let (from, until) = (Evidence::created_at(run)?, *first_starts.get(run.id.as_str())?);
        let is_delayed = run.due_at != run.created_at;
        (!is_delayed).then_some(Wait { from, until, needs: Needs::of(run) })
    };
    evidence.runs.values().filter_map(of_run).collect()
}

/// The waits that lie in the calm. The first seconds warm up.
fn start_latencies(waits: &[Wait], start: Time, calm_end: Time) -> Vec<Duration> {
    let warm = start + Duration::from_secs(2);
    waits.iter().filter(|wait| wait.from >= warm && wait.until < calm_end).map(Wait::lasts).collect()
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
    use crate::{
        script::{Fault, Part},
        testing::{RUN, record},
    };

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

    /// Of a task that was created and given to the process 7 at second 100: when it started there, the fault that came,
    /// and when it started elsewhere.
    fn taken(started_s: u64, fault: Happened, again_s: u64) -> Evidence {
        let created_at = Some(prost_types::Timestamp { seconds: 100, nanos: 0 });
        let run = Run { id: RUN.into(), created_at, due_at: created_at, ..Default::default() };
        let records = vec![record(What::Start, 1, 7, started_s), record(What::Start, 3, 8, again_s)];
        Evidence {
            accepted: [("task-1".to_owned(), vec![RUN.to_owned()])].into(),
            runs: [(RUN.to_owned(), run)].into(),
            records: [("task-1".to_owned(), records)].into(),
            faults: vec![fault],
            ..Default::default()
        }
    }

    #[test]
    fn what_a_fault_took_from_a_worker_waits_until_its_next_start() {
        let of_7 = |fault, from_s, until_s| Happened {
            fault,
            from: Duration::from_secs(from_s),
            until: Duration::from_secs(until_s),
            pid: Some(7),
        };
        let kill = of_7(Fault::Kill(Part::Worker(0)), 103, 104);
        let freeze = of_7(Fault::Freeze(Part::Worker(0)), 101, 111);
        for (case, evidence, restart_s, longest_wait_s) in [
            ("executed at the kill", taken(101, kill.clone(), 112), Some(9), 0),
            ("executed at the freeze", taken(101, freeze.clone(), 110), Some(9), 1),
            ("started in the silence", taken(104, freeze.clone(), 112), Some(8), 4),
            ("started after its successor", taken(111, freeze, 109), Some(8), 9),
            ("of another process", taken(101, Happened { pid: Some(9), ..kill }, 112), None, 0),
        ] {
            let (waits, extras) = (waits(&evidence), extra_executions(&evidence));
            let costs = costs(&evidence, &waits, &extras, 100.0, Duration::from_secs(120));
            let kind = evidence.faults[0].fault.kind();
            assert_eq!(costs.keys().collect::<Vec<_>>(), [&kind], "{case}");
            let restarts: Vec<Duration> = restart_s.map(Duration::from_secs).into_iter().collect();
            assert_eq!(costs[&kind].restarts, restarts, "{case}");
            let any_worker = Duration::from_secs(longest_wait_s);
            assert_eq!(costs[&kind].longest_wait, Longest { any_worker, ..Default::default() }, "{case}");
        }
    }

    #[test]
    fn what_waits_for_a_slot_or_for_one_worker_is_told_apart() {
        let evidence = |run: Run| {
            let created_at = Some(prost_types::Timestamp { seconds: 100, nanos: 0 });
            let run = Run { id: RUN.into(), created_at, due_at: created_at, ..run };
            let records = vec![record(What::Start, 1, 7, 130)];
            Evidence {
                runs: [(RUN.to_owned(), run)].into(),
                records: [("task-1".to_owned(), records)].into(),
                faults: vec![wipe(100)],
                ..Default::default()
            }
        };
        let limited = Run { concurrency_limits: vec!["chaos".into()], ..Default::default() };
        let labels = [("gpu".to_owned(), "true".to_owned())].into();
        let labelled = Run { required_worker_labels: labels, ..Default::default() };
        let waited = Duration::from_secs(30);
        for (run, expected) in [
            (Run::default(), Longest { any_worker: waited, ..Default::default() }),
            (limited, Longest { limited: waited, ..Default::default() }),
            (labelled, Longest { labelled: waited, ..Default::default() }),
        ] {
            let evidence = evidence(run);
            let costs = costs(&evidence, &waits(&evidence), &[], 100.0, Duration::from_secs(140));
            assert_eq!(costs.values().map(|cost| cost.longest_wait).collect::<Vec<_>>(), [expected]);
        }
    }
}
