//! What must be true at the end, whatever the script did.
//!
//! - `load`: no call was refused for good, and nine of ten calls that the rate asks for were accepted: a load that did
//!   nothing proves nothing.
//! - `ended`: every accepted task is there, and COMPLETED: its crash policy forgives every crash.
//! - `one-run`: all answers to the calls with one key name the same run.
//! - `completed-once`: a history has one COMPLETED event and one that ended the run, which is its last.
//! - `no-gap`: a history counts 1, 2, 3, …, and the run's own count is that of its last event.
//! - `epochs`: no event has a lower epoch than the one before, and each claim (PENDING) has a higher one.
//! - `executed`: what was accepted as COMPLETED was executed to its end, under the epoch of that event.
//! - `one-start-per-epoch`: no epoch of a run was executed twice, and none without a claim in the history.
//! - `extra-executions`: see [`extra_executions`].
//! - `leftovers`: Redis holds neither entry nor lease of a run.
//! - `limits`: never more tasks of a concurrency limit, or of a key of a template, executed at a time than it has slots.
//! - `rates`: no task of a rate was claimed before there was a token for it.
//! - `slots`: at the end no slot is held, and no run waits for one.
//! - `errors`: no process logged an ERROR but while a fault of what it depends on explains it, and none panicked.
//! - `processes`: no process ended by itself, or by an orderly stop otherwise than in order.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use tidegate_sdk::proto::{Run, RunEvent, StateType};

use crate::{
    evidence::{Evidence, Happened},
    limits,
    load::Calls,
    record::{Record, What},
    script::{Fault, Link, Part},
    suite::{HEARTBEAT_INTERVAL, LEASE},
    time::{self, Time},
    worker::DRAIN_GRACE,
};

/// A rule that was broken.
#[derive(Debug)]
pub(crate) struct Violation {
    pub rule: &'static str,
    pub text: String,
    /// The run that it is about.
    pub run_id: Option<String>,
}

/// How long after its end a fault may still show: leases that it cut off run out, and their judgement waits until
/// workers have had the time of another lease to announce what they hold; then a sweep and a claim.
const LATE: Duration = LEASE.saturating_mul(2).saturating_add(Duration::from_secs(5));
/// So long a worker must be out of Redis' reach to lose its leases: the last heartbeat before came up to an interval
/// earlier.
const LOSES_LEASES: Duration = LEASE.saturating_sub(HEARTBEAT_INTERVAL);
/// The longest that who lost a connection waits before it tries again. Delays double, so it is no longer than it tried.
const RECONNECTS_WITHIN: Duration = Duration::from_secs(5);
/// How long after its end a fault may still explain an ERROR: calls that began in it run into their timeouts, the
/// longest of which (for a connection, a lock, a batch of task-queue) are of five seconds.
const ERRORS_LATE: Duration = Duration::from_secs(5);

/// All violations.
pub(crate) fn judge(evidence: &Evidence) -> Vec<Violation> {
    let mut found = of_calls(&evidence.calls);
    for (key, run_ids) in &evidence.accepted {
        let run_id = &run_ids[0];
        let mut broken = |rule, text| found.push(Violation { rule, text, run_id: Some(run_id.clone()) });
        if run_ids.iter().any(|other| other != run_id) {
            broken("one-run", format!("{key} was answered with {run_ids:?}"));
        }
        let (Some(run), Some(history)) = (evidence.runs.get(run_id), evidence.histories.get(run_id)) else {
            broken("ended", format!("{key} was accepted, and its run is gone"));
            continue;
        };
        if state_of_run(run) != StateType::Completed {
            broken("ended", format!("{key} is {}", state_of_run(run).as_str_name()));
        }
        let records = evidence.records.get(key).map_or(&[][..], Vec::as_slice);
        for (rule, text) in of_history(run, history).into_iter().chain(of_executions(history, records)) {
            broken(rule, format!("{key}: {text}"));
        }
        for Extra { before, after, fault } in extra_executions(history, records, &evidence.faults) {
            if fault.is_none() {
                let text = format!(
                    "{key}: epoch {} was executed again as epoch {}, and no fault explains it",
                    before.epoch, after.epoch
                );
                broken("extra-executions", text);
            }
        }
    }
    found.extend(limits::judge(evidence));
    for left in &evidence.leftovers {
        found.push(Violation { rule: "leftovers", text: left.clone(), run_id: None });
    }
    for line in &evidence.errors {
        let explained = line
            .at
            .is_some_and(|at| evidence.faults.iter().any(|fault| explains_error(fault, line.part, at)));
        if !explained {
            let text = format!("{}: {}", line.part.name(), line.text);
            found.push(Violation { rule: "errors", text, run_id: None });
        }
    }
    for incident in &evidence.incidents {
        let explained = incident.was_starting
            && evidence.faults.iter().any(|fault| is_of_a_store(fault.fault) && overlaps(fault, incident.at));
        if !explained {
            let text = format!("{}: {}", incident.name, incident.what);
            found.push(Violation { rule: "processes", text, run_id: None });
        }
    }
    found
}

fn of_calls(calls: &Calls) -> Vec<Violation> {
    let broken = |text: String| Violation { rule: "load", text, run_id: None };
    let mut found: Vec<_> = calls.refused.iter().cloned().map(broken).collect();
    if calls.n_accepted == 0 || calls.n_accepted * 10 < calls.n_wanted() * 9 {
        found.push(broken(format!("of {} calls: {calls}", calls.n_wanted())));
    }
    found
}

fn of_history(run: &Run, history: &[RunEvent]) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if !history.iter().map(|event| event.seq).eq(1..=history.len() as u64) {
        broken.push(("no-gap", "the history has a gap".to_owned()));
    }
    if run.event_seq != history.len() as u64 {
        broken.push(("no-gap", format!("the run counts {} events, not {}", run.event_seq, history.len())));
    }
    let n_completed = history.iter().filter(|event| state_of(event) == StateType::Completed).count();
    let n_ended = history.iter().filter(|event| event.ended).count();
    if n_completed > 1 || n_ended > 1 || (n_ended == 1 && !history.last().is_some_and(|last| last.ended)) {
        broken
            .push(("completed-once", format!("it completed {n_completed} times and ended {n_ended} times")));
    }
    for pair in history.windows(2) {
        let is_claim = state_of(&pair[1]) == StateType::Pending;
        if pair[1].epoch < pair[0].epoch || (is_claim && pair[1].epoch == pair[0].epoch) {
            broken.push(("epochs", format!("event {} has epoch {}", pair[1].seq, pair[1].epoch)));
        }
    }
    broken
}

fn of_executions(history: &[RunEvent], records: &[Record]) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    if let Some(completed) = history.iter().find(|event| state_of(event) == StateType::Completed) {
        let was = |what: What| records.iter().any(|r| r.what == what && r.epoch == completed.epoch);
        if !was(What::Start) || !was(What::End) {
            broken.push(("executed", format!("epoch {} completed, and was not executed", completed.epoch)));
        }
    }
    let mut starts: BTreeMap<u64, usize> = BTreeMap::new();
    for record in records.iter().filter(|record| record.what == What::Start) {
        *starts.entry(record.epoch).or_default() += 1;
    }
    for (epoch, n_starts) in starts {
        let is_claimed =
            history.iter().any(|event| state_of(event) == StateType::Pending && event.epoch == epoch);
        if n_starts > 1 || !is_claimed {
            let claimed = if is_claimed { "claimed" } else { "never claimed" };
            broken.push((
                "one-start-per-epoch",
                format!("epoch {epoch} was executed {n_starts} times, and {claimed}"),
            ));
        }
    }
    broken
}

/// An execution that no failure of its task asked for.
#[derive(Debug)]
pub(crate) struct Extra<'a> {
    /// Where the execution before it started.
    pub before: &'a Record,
    /// Where it started itself.
    pub after: &'a Record,
    /// The fault that explains it, by its number.
    pub fault: Option<usize>,
}

/// The executions of a task that no failure of its own asked for, each with the fault that explains it, if one does.
///
/// Executions of a task in the order of their epochs, as a worker that was frozen may start what it was given before only
/// afterwards: each but the first follows another. Where the other one's epoch FAILED in the history, it is a retry.
/// Every other one is extra, and needs a fault of its own (so a task has at most one extra execution per fault) that
/// could have taken the run from the worker of the execution before:
///
/// - a kill of that worker's process, or an orderly restart that it did not end within its grace;
/// - silence of that worker, for [`LOSES_LEASES`] at least: a freeze of it, or faults of what carries its leases, which
///   are task-queue, Redis, and the links to them (see [`silences`]). Faults that follow each other so closely that no
///   heartbeat came between make one silence. Short ones explain nothing, nor does a wipe of Redis, after which workers
///   announce what they hold, nor faults of the api, the scheduler, log-ingest or Postgres: they cost time, not
///   executions;
///
/// and that began before the later one started, and was over at most [`LATE`] before the earlier one did.
pub(crate) fn extra_executions<'a>(
    history: &[RunEvent],
    records: &'a [Record],
    faults: &[Happened],
) -> Vec<Extra<'a>> {
    let mut starts: Vec<&Record> = records.iter().filter(|record| record.what == What::Start).collect();
    starts.sort_by_key(|start| (start.epoch, start.at));
    let mut used = vec![false; faults.len()];
    let mut extras = Vec::new();
    for pair in starts.windows(2) {
        let (before, after) = (pair[0], pair[1]);
        if ended_as(history, before.epoch) == Some(StateType::Failed) {
            continue;
        }
        let silences = silences(faults, before.pid);
        let could_take = |idx: usize| {
            ends_its_work(&faults[idx], before.pid)
                || silences.iter().any(|silence| silence.lasts() >= LOSES_LEASES && silence.of.contains(&idx))
        };
        // The one that is over first: later ones may be needed by later executions.
        let explains = |idx: &usize| {
            let fault = &faults[*idx];
            !used[*idx] && could_take(*idx) && fault.from <= after.at && fault.until + LATE >= before.at
        };
        let fault = (0..faults.len()).filter(explains).min_by_key(|idx| faults[*idx].until);
        if let Some(idx) = fault {
            used[idx] = true;
        }
        extras.push(Extra { before, after, fault });
    }
    extras
}

/// The process `pid` went away with what it executed.
fn ends_its_work(fault: &Happened, pid: u32) -> bool {
    let is_of_it = fault.pid == Some(pid);
    match fault.fault {
        Fault::Kill(Part::Worker(_)) => is_of_it,
        Fault::Restart(Part::Worker(_)) => is_of_it && fault.until - fault.from >= DRAIN_GRACE,
        _ => false,
    }
}

/// A time in which no heartbeat of a worker came through, and the faults of which it is made.
struct Silence {
    from: Time,
    until: Time,
    of: Vec<usize>,
}

impl Silence {
    fn lasts(&self) -> Duration {
        self.until.saturating_sub(self.from)
    }
}

/// The silences of the worker with the process id `pid`. One that broke connections goes on until they are made again.
fn silences(faults: &[Happened], pid: u32) -> Vec<Silence> {
    let mut found: Vec<Silence> = Vec::new();
    let mut by_time: Vec<usize> = (0..faults.len()).collect();
    by_time.sort_by_key(|idx| faults[*idx].from);
    for idx in by_time {
        let fault = &faults[idx];
        let breaks_connections = match fault.fault {
            Fault::Freeze(Part::Worker(_)) if fault.pid == Some(pid) => false,
            Fault::Freeze(Part::TaskQueue(_) | Part::Redis) => false,
            Fault::Kill(Part::TaskQueue(_) | Part::Redis) => true,
            Fault::Restart(Part::TaskQueue(_) | Part::Redis) => true,
            Fault::Stall(Link::TaskQueueToRedis | Link::WorkersToTaskQueue) => false,
            Fault::Cut(Link::TaskQueueToRedis | Link::WorkersToTaskQueue) => true,
            _ => continue,
        };
        let lasted = fault.until - fault.from;
        let reconnects = if breaks_connections { lasted.min(RECONNECTS_WITHIN) } else { Duration::ZERO };
        let until = fault.until + reconnects;
        match found.last_mut() {
            Some(last) if fault.from <= last.until + HEARTBEAT_INTERVAL => {
                last.until = last.until.max(until);
                last.of.push(idx);
            }
            _ => found.push(Silence { from: fault.from, until, of: vec![idx] }),
        }
    }
    found
}

/// How the execution under `epoch` ended in the history.
fn ended_as(history: &[RunEvent], epoch: u64) -> Option<StateType> {
    taken_at(history, epoch).map(|(state, _)| state)
}

/// The first event after the claim of `epoch` that is neither of a start nor of a cancel.
pub(crate) fn taken_at(history: &[RunEvent], epoch: u64) -> Option<(StateType, Time)> {
    let claim =
        history.iter().position(|event| event.epoch == epoch && state_of(event) == StateType::Pending)?;
    let taken = history[claim + 1..]
        .iter()
        .find(|event| !matches!(state_of(event), StateType::Running | StateType::Cancelling))?;
    Some((state_of(taken), occurred_at(taken)))
}

/// A service may call a person while what it depends on is away, or after it was itself not there to see its calls end.
fn explains_error(fault: &Happened, part: Part, at: Time) -> bool {
    let is_of_a_dependency = match fault.fault {
        Fault::Freeze(frozen) if frozen == part => true,
        Fault::Kill(other) | Fault::Restart(other) | Fault::Freeze(other) => matches!(
            (part, other),
            (Part::Api(_), Part::Postgres | Part::TaskQueue(_))
                | (Part::TaskQueue(_), Part::Redis | Part::Api(_))
                | (Part::Scheduler(_), Part::Postgres | Part::TaskQueue(_))
                | (Part::LogIngest, Part::Postgres)
        ),
        Fault::WipeRedis => matches!(part, Part::TaskQueue(_)),
        Fault::Cut(link) | Fault::Stall(link) => matches!(
            (part, link),
            (Part::Api(_), Link::ApiToPostgres | Link::ApiToTaskQueue)
                | (Part::TaskQueue(_), Link::TaskQueueToRedis | Link::TaskQueueToApi)
                | (Part::Scheduler(_), Link::SchedulerToPostgres | Link::SchedulerToTaskQueue)
                | (Part::LogIngest, Link::LogIngestToPostgres)
        ),
    };
    is_of_a_dependency && fault.from <= at && at <= fault.until + ERRORS_LATE
}

fn is_of_a_store(fault: Fault) -> bool {
    match fault {
        Fault::Kill(part) | Fault::Restart(part) | Fault::Freeze(part) => {
            matches!(part, Part::Postgres | Part::Redis)
        }
        Fault::Cut(_) | Fault::Stall(_) => true,
        Fault::WipeRedis => false,
    }
}

fn overlaps(fault: &Happened, at: Time) -> bool {
    fault.from <= at && at <= fault.until + Duration::from_secs(1)
}

pub(crate) fn state_of(event: &RunEvent) -> StateType {
    event.state.as_ref().map_or(StateType::Unspecified, |state| state.r#type())
}

pub(crate) fn occurred_at(event: &RunEvent) -> Time {
    let at = event.state.as_ref().and_then(|state| state.occurred_at.as_ref());
    at.map_or(Time::ZERO, |at| time::of_parts(at.seconds, at.nanos))
}

fn state_of_run(run: &Run) -> StateType {
    run.state.as_ref().map_or(StateType::Unspecified, |state| state.r#type())
}

/// Violations as text: all of them in a line each, and the first of each rule with what is known of its run.
pub(crate) fn report(violations: &[Violation], evidence: &Evidence) -> String {
    let mut by_rule: BTreeMap<&str, Vec<&Violation>> = BTreeMap::new();
    for violation in violations {
        by_rule.entry(violation.rule).or_default().push(violation);
    }
    let mut text = String::new();
    for (rule, broken) in by_rule {
        let _ = writeln!(text, "\n== {rule}: broken {} times", broken.len());
        for violation in broken.iter().take(20) {
            let _ = writeln!(text, "{}", violation.text);
        }
        if let Some(run_id) = broken.first().and_then(|violation| violation.run_id.as_ref()) {
            text.push_str(&story_of(run_id, evidence));
        }
    }
    text
}

/// A run's history and what the recorder saw of it.
fn story_of(run_id: &str, evidence: &Evidence) -> String {
    let mut text = format!("-- run {run_id}\n");
    for event in evidence.histories.get(run_id).into_iter().flatten() {
        let state = event.state.clone().unwrap_or_default();
        let at = state.occurred_at.map(|at| at.to_string()).unwrap_or_default();
        let _ = writeln!(
            text,
            "   {at} seq {} {} {} epoch {} attempt {} {} {}",
            event.seq,
            state.r#type().as_str_name(),
            state.name,
            event.epoch,
            event.attempt,
            event.holder,
            state.message
        );
    }
    let records = evidence.records.values().flatten();
    for record in records.filter(|record| record.run_id == run_id) {
        let _ = writeln!(text, "   recorder: {record}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{RUN, event, record};

    fn fault(fault: Fault, from_s: u64, pid: Option<u32>) -> Happened {
        let (from, until) = (Duration::from_secs(from_s), Duration::from_secs(from_s + 1));
        Happened { fault, from, until, pid }
    }

    /// A fault of seven seconds.
    fn long(of: Fault, from_s: u64, pid: Option<u32>) -> Happened {
        Happened { until: Duration::from_secs(from_s + 7), ..fault(of, from_s, pid) }
    }

    /// A task whose worker 7 was killed while it ran, and that 8 completed.
    fn crashed_once() -> Evidence {
        use StateType::{Completed, Crashed, Pending, Running, Scheduled};
        let states = [
            (Scheduled, 0),
            (Pending, 1),
            (Running, 1),
            (Crashed, 2),
            (Scheduled, 2),
            (Pending, 3),
            (Running, 3),
            (Completed, 3),
        ];
        let history: Vec<_> =
            states.iter().zip(1..).map(|(&(state, epoch), seq)| event(seq, state, epoch)).collect();
        let run =
            Run { id: RUN.into(), state: event(8, Completed, 3).state, event_seq: 8, ..Default::default() };
        let records = vec![
            record(What::Start, 1, 7, 100),
            record(What::Start, 3, 8, 110),
            record(What::End, 3, 8, 111),
        ];
        Evidence {
            accepted: [("task-1".to_owned(), vec![RUN.to_owned()])].into(),
            calls: Calls { n_accepted: 9, n_given_up: 1, ..Calls::default() },
            runs: [(RUN.to_owned(), run)].into(),
            histories: [(RUN.to_owned(), history)].into(),
            records: [("task-1".to_owned(), records)].into(),
            faults: vec![fault(Fault::Kill(Part::Worker(0)), 101, Some(7))],
            ..Default::default()
        }
    }

    fn broken(evidence: &Evidence) -> Vec<&'static str> {
        judge(evidence).iter().map(|violation| violation.rule).collect()
    }

    fn history(evidence: &mut Evidence) -> &mut Vec<RunEvent> {
        evidence.histories.get_mut(RUN).unwrap()
    }

    fn records(evidence: &mut Evidence) -> &mut Vec<Record> {
        evidence.records.get_mut("task-1").unwrap()
    }

    #[test]
    fn a_task_that_was_executed_again_after_a_kill_breaks_nothing() {
        assert_eq!(broken(&crashed_once()), [""; 0]);
    }

    #[test]
    fn a_load_that_was_refused_or_hardly_accepted_proves_nothing() {
        assert_eq!(broken(&Evidence::default()), ["load"], "nothing was called");
        let mut evidence = crashed_once();
        evidence.calls.refused.push("task-2: the name is wrong".into());
        assert_eq!(broken(&evidence), ["load", "load"]);
        evidence.calls = Calls { n_accepted: 8, n_not_made: 1, n_given_up: 1, ..Calls::default() };
        assert_eq!(broken(&evidence), ["load"]);
    }

    #[test]
    fn an_accepted_task_must_be_there_and_completed() {
        let mut evidence = crashed_once();
        evidence.runs.clear();
        assert_eq!(broken(&evidence), ["ended"]);
        let mut evidence = crashed_once();
        evidence.runs.get_mut(RUN).unwrap().state = event(1, StateType::Running, 1).state;
        assert_eq!(broken(&evidence), ["ended"]);
    }

    #[test]
    fn two_runs_of_one_key_are_found() {
        let mut evidence = crashed_once();
        evidence.accepted.get_mut("task-1").unwrap().push("run-2".into());
        assert_eq!(broken(&evidence), ["one-run"]);
    }

    #[test]
    fn a_second_completion_is_found() {
        let mut evidence = crashed_once();
        evidence.runs.get_mut(RUN).unwrap().event_seq = 9;
        history(&mut evidence).push(event(9, StateType::Completed, 3));
        assert_eq!(broken(&evidence), ["completed-once"]);
    }

    #[test]
    fn a_gap_is_found() {
        let mut evidence = crashed_once();
        history(&mut evidence)[4].seq = 9;
        assert_eq!(broken(&evidence), ["no-gap"]);
    }

    #[test]
    fn an_epoch_that_falls_or_a_claim_that_does_not_raise_it_is_found() {
        let mut evidence = crashed_once();
        history(&mut evidence)[4].epoch = 1;
        assert_eq!(broken(&evidence), ["epochs"]);
        let mut evidence = crashed_once();
        history(&mut evidence)[4].epoch = 3;
        assert_eq!(broken(&evidence), ["epochs"]);
    }

    #[test]
    fn a_completion_that_nobody_executed_is_found() {
        let mut evidence = crashed_once();
        records(&mut evidence).pop();
        assert_eq!(broken(&evidence), ["executed"]);
    }

    #[test]
    fn one_epoch_in_two_processes_is_found() {
        let mut evidence = crashed_once();
        records(&mut evidence).insert(1, record(What::Start, 1, 9, 100));
        let cuts = [100, 105].map(|at_s| long(Fault::Cut(Link::WorkersToTaskQueue), at_s, None));
        evidence.faults.extend(cuts);
        assert_eq!(broken(&evidence), ["one-start-per-epoch"]);
    }

    #[test]
    fn an_extra_execution_needs_a_fault_of_its_own_that_could_have_caused_it() {
        let mut evidence = crashed_once();
        evidence.faults = vec![fault(Fault::Kill(Part::Worker(0)), 101, Some(9))];
        assert_eq!(broken(&evidence), ["extra-executions"], "another process was killed");
        evidence.faults = vec![long(Fault::Freeze(Part::Api(0)), 101, Some(3))];
        assert_eq!(broken(&evidence), ["extra-executions"], "an api that is away takes no run away");
        let cut = Fault::Cut(Link::WorkersToTaskQueue);
        evidence.faults = vec![long(cut, 111, None)];
        assert_eq!(broken(&evidence), ["extra-executions"], "the fault came later");
        evidence.faults = vec![long(cut, 100 - LATE.as_secs() - 10, None)];
        assert_eq!(broken(&evidence), ["extra-executions"], "the fault was over long before");
        evidence.faults = vec![fault(Fault::WipeRedis, 99, None)];
        assert_eq!(broken(&evidence), ["extra-executions"], "workers announce what they hold");
        evidence.faults = vec![long(cut, 99, None)];
        assert_eq!(broken(&evidence), [""; 0]);
    }

    #[test]
    fn a_fault_that_is_shorter_than_a_lease_explains_no_extra_execution() {
        let worker = Fault::Freeze(Part::Worker(0));
        let stall = Fault::Stall(Link::TaskQueueToRedis);
        for (fault_of, pid) in
            [(worker, Some(7)), (stall, None), (Fault::Cut(Link::WorkersToTaskQueue), None)]
        {
            let mut evidence = crashed_once();
            evidence.faults = vec![fault(fault_of, 101, pid)];
            assert_eq!(broken(&evidence), ["extra-executions"], "{fault_of:?} for a second");
            evidence.faults = vec![long(fault_of, 101, pid)];
            assert_eq!(broken(&evidence), [""; 0], "{fault_of:?} for long");
        }
        let mut evidence = crashed_once();
        evidence.faults = (0..5).map(|n| fault(stall, 101 + n, None)).collect();
        assert_eq!(broken(&evidence), [""; 0], "many short ones in a row are a long one");
        evidence.faults = vec![long(worker, 101, Some(9))];
        assert_eq!(broken(&evidence), ["extra-executions"], "another worker was silent");
    }

    #[test]
    fn a_worker_that_starts_late_what_it_was_given_before_it_was_frozen_is_the_earlier_one() {
        let mut evidence = crashed_once();
        evidence.faults = vec![long(Fault::Freeze(Part::Worker(0)), 105, Some(7))];
        records(&mut evidence)[0].at = Duration::from_secs(113);
        assert_eq!(broken(&evidence), [""; 0]);
        evidence.faults = vec![long(Fault::Freeze(Part::Worker(1)), 105, Some(8))];
        assert_eq!(broken(&evidence), ["extra-executions"], "the other one was frozen");
    }

    #[test]
    fn a_restart_of_its_worker_explains_an_extra_execution_only_beyond_the_grace() {
        let restart = Fault::Restart(Part::Worker(0));
        let mut evidence = crashed_once();
        evidence.faults = vec![fault(restart, 101, Some(7))];
        assert_eq!(broken(&evidence), ["extra-executions"]);
        let cut_off = fault(restart, 101, Some(7));
        evidence.faults = vec![Happened { until: cut_off.from + DRAIN_GRACE, ..cut_off }];
        assert_eq!(broken(&evidence), [""; 0]);
    }

    #[test]
    fn a_retry_after_a_failure_needs_no_fault() {
        let mut evidence = crashed_once();
        evidence.faults.clear();
        history(&mut evidence)[3] = event(4, StateType::Failed, 2);
        assert_eq!(broken(&evidence), [""; 0]);
    }

    #[test]
    fn leftovers_errors_and_ends_of_processes_are_found_unless_a_fault_explains_them() {
        let mut evidence = crashed_once();
        evidence.leftovers.push("{tg:leases/1}:v1:expiry: run-1".into());
        let line = |part, at| crate::logs::LogLine { part, at, text: "ERROR".into() };
        let at = Some(Duration::from_secs(500));
        evidence.errors =
            vec![line(Part::Api(1), at), line(Part::TaskQueue(0), at), line(Part::Api(1), None)];
        evidence.incidents.push(crate::keeper::Incident {
            name: "api".into(),
            at: Duration::from_secs(500),
            what: "it ended before it served".into(),
            was_starting: true,
        });
        assert_eq!(broken(&evidence), ["leftovers", "errors", "errors", "errors", "processes"]);
        evidence.faults.push(fault(Fault::Kill(Part::Postgres), 499, None));
        let message = "task-queue does not depend on Postgres, and a panic is never explained";
        assert_eq!(broken(&evidence), ["leftovers", "errors", "errors"], "{message}");
    }

    #[test]
    fn a_report_tells_the_story_of_the_run() {
        let mut evidence = crashed_once();
        evidence.faults.clear();
        let report = report(&judge(&evidence), &evidence);
        for part in ["extra-executions: broken 1", "run run-1", "seq 8", "recorder: start task-1 run-1 1"] {
            assert!(report.contains(part), "{part} is not in {report}");
        }
    }
}
