//! A model of claim, lease, report, cancel and limit, with the real rules as its store: every order in which two runs
//! of one concurrency limit, two workers, delivery and a few faults can meet is gone through.
//!
//! Time stands still: all timeouts are zero, so that a timer may fire at any moment. What takes long in the world is
//! here an action that comes late.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use common::{NOW, draft, worker};
use stateright::{Checker, Model, Property};
use tidegate_model::{Epoch, QueueName, RunId};
use tidegate_orchestration::{
    Effect, Event, Failure, Lack, Line, Phase, Placement, Run, StateName, StateType, apply, create,
};
use uuid::Uuid;

const N_WORKERS: usize = 2;
/// Both runs need a slot of one limit.
const N_SLOTS: usize = 1;

type RunIdx = usize;
type WorkerIdx = usize;

/// A run under an epoch.
type Held = (RunIdx, u64);

/// What is there, what may go wrong, and how often in all.
struct World {
    n_runs: usize,
    max_retries: u32,
    n_faults: u8,
    n_cancels: u8,
    faults: &'static [Fault],
    /// How often what is kept for a run lapses in all.
    n_lapses: u8,
}

const ALL_FAULTS: &[Fault] =
    &[Fault::Kill, Fault::Silence, Fault::Wipe, Fault::Repeat, Fault::LoseAnswer, Fault::StartTimeout];

/// Where a run stands that waits for the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    /// It was not handed out.
    Waiting,
    /// It was, and the slot is kept for it.
    Reserved,
    /// It was, and did not come in time.
    Lapsed,
    /// The same, and another was let through for it.
    Passed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    /// A worker's process is killed and started again.
    Kill,
    /// A worker is silent for longer than its lease, and executes on.
    Silence,
    /// Redis is wiped.
    Wipe,
    /// A claim or a report is sent again, because its answer was lost.
    Repeat,
    /// A claim was committed, and whoever asked for it died with the answer.
    LoseAnswer,
    /// A worker does not start what it was given in time.
    StartTimeout,
}

/// The store's row of a run. Two are the same where the rules cannot tell them apart.
#[derive(Clone, Debug)]
struct Row(Arc<Run>);

impl Row {
    fn facts(&self) -> impl Eq + Hash + '_ {
        let run = &*self.0;
        let counters = (run.epoch, run.attempt, run.crashes, run.retries, run.event_seq);
        (run.state.state_type(), run.state.name, run.holder(), counters)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.facts() == other.facts()
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.facts().hash(state);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Report {
    Started,
    Completed,
    Failed,
    Cancelled,
}

impl Report {
    fn event(self) -> Event {
        match self {
            Self::Started => Event::Started,
            Self::Completed => Event::Completed,
            Self::Failed => Event::Failed(Failure::default()),
            Self::Cancelled => Event::Cancelled,
        }
    }
}

/// A worker with room for one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Worker {
    /// How often it was killed: a new process has a new name.
    n_lives: u8,
    /// What it was given, and whether the code has started.
    code: Option<(Held, bool)>,
    /// What it has said and nobody has heard yet, in order.
    reports: VecDeque<(Held, Report)>,
}

/// What is to be seen of a run from outside, kept beside it to judge the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Seen {
    n_executions: u8,
    n_completions: u8,
    /// What must never be: the first of it.
    broken: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct System {
    /// Postgres.
    rows: Vec<Row>,
    slots: BTreeSet<RunIdx>,
    /// Who waits for one.
    line: BTreeMap<RunIdx, Place>,
    /// Redis.
    ready: BTreeSet<Held>,
    leases: BTreeMap<RunIdx, u64>,
    /// Claims that were sent to the api and are not answered, by worker.
    claims: BTreeMap<WorkerIdx, Held>,
    /// Orders to stop code, on their way: whose, and whether it is to say so.
    stops: BTreeSet<(Held, bool)>,
    workers: Vec<Worker>,
    seen: Vec<Seen>,
    n_faults: u8,
    n_cancels: u8,
    n_lapses: u8,
    /// New runs that took a slot though others were in line.
    n_passed: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    /// A SCHEDULED run is handed to delivery: at once, or by the sweep.
    Enqueue(RunIdx),
    /// A free slot is handed out to one that waits: it is kept for it, and it is handed to delivery.
    HandOut(RunIdx),
    /// What was kept for a run is so no longer.
    Lapse(RunIdx),
    /// A worker with a free slot takes a delivery.
    Take(WorkerIdx, Held),
    /// The claim is judged, and the worker is given the run.
    Claim(WorkerIdx),
    /// The same, and it is sent again.
    RepeatClaim(WorkerIdx),
    /// The same, and nobody hears of it.
    LoseClaim(WorkerIdx),
    Start(WorkerIdx),
    /// The code ends.
    End(WorkerIdx, Report),
    /// The next thing a worker has said is heard.
    Hear(WorkerIdx),
    /// The same, and it says it again.
    HearAgain(WorkerIdx),
    /// A worker is told to stop.
    Stop(Held, bool),
    /// A heartbeat lists what the worker has, and its lease is there again.
    Announce(WorkerIdx),
    /// A held run without a lease, or with one that is over, is judged to have lost its process.
    Judge(RunIdx),
    /// A timer of a run fires.
    Fire(RunIdx),
    Cancel(RunIdx),
    Kill(WorkerIdx),
    Wipe,
}

impl System {
    fn new(n_runs: usize, max_retries: u32) -> Self {
        let row = |idx: usize| {
            let mut draft = draft(Placement::Queue(QueueName::default()));
            draft.id = RunId::from_uuid(Uuid::from_u128(0x7000_8000_0000_0000_0000 + idx as u128));
            draft.policies.retry.max_retries = max_retries;
            draft.policies.crash.max_crashes = 1;
            draft.policies.start_timeout = Duration::ZERO;
            draft.policies.cancel_grace = Duration::ZERO;
            Row(Arc::new(create(draft, None, NOW).expect("needs no parent").run))
        };
        Self {
            rows: (0..n_runs).map(row).collect(),
            slots: BTreeSet::new(),
            line: BTreeMap::new(),
            ready: BTreeSet::new(),
            leases: BTreeMap::new(),
            claims: BTreeMap::new(),
            stops: BTreeSet::new(),
            workers: vec![Worker::default(); N_WORKERS],
            seen: vec![Seen::default(); n_runs],
            n_faults: 0,
            n_cancels: 0,
            n_lapses: 0,
            n_passed: 0,
        }
    }

    /// Who is in line for the slot.
    fn line(&self) -> Line {
        let count = |place| self.line.values().filter(|one| **one == place).count() as u64;
        Line {
            n_waiting: count(Place::Waiting),
            n_reserved: count(Place::Reserved),
            n_lapsed: count(Place::Lapsed),
        }
    }

    fn n_not_in_time(&self) -> u64 {
        self.line.values().filter(|place| matches!(place, Place::Lapsed | Place::Passed)).count() as u64
    }

    fn n_free(&self) -> u64 {
        (N_SLOTS - self.slots.len()) as u64
    }

    fn run(&self, idx: RunIdx) -> &Run {
        &self.rows[idx].0
    }

    fn state(&self, idx: RunIdx) -> StateType {
        self.run(idx).state.state_type()
    }

    /// Whether a worker lives that executes a run under its current epoch, or has yet to be heard of it.
    fn is_executed(&self, idx: RunIdx) -> bool {
        let current = (idx, self.run(idx).epoch.0);
        self.workers.iter().any(|worker| {
            let mut said = worker.reports.iter().map(|(held, _)| *held);
            worker.code.is_some_and(|(held, _)| held == current) || said.any(|held| held == current)
        })
    }

    fn is_known_to_delivery(&self, idx: RunIdx) -> bool {
        let current = (idx, self.run(idx).epoch.0);
        self.ready.contains(&current) || self.claims.values().any(|claim| *claim == current)
    }

    /// A transaction: the row, its slot and what follows from both. Gives whether the event was taken.
    fn change(&mut self, idx: RunIdx, epoch: Option<u64>, event: &Event) -> bool {
        let before = self.run(idx).clone();
        let Ok(step) = apply(&before, epoch.map(Epoch), event, NOW, 0.5) else { return false };
        let after = &step.run;
        let seen = &mut self.seen[idx];
        let n_completed = step.transitions.iter().filter(|state| state.phase == Phase::Completed).count();
        seen.n_completions += u8::try_from(n_completed).expect("few");
        for (is_broken, what) in [
            (after.epoch < before.epoch, "an epoch fell"),
            (after.event_seq != before.event_seq + step.transitions.len() as u64, "a history has a gap"),
            (before.state.state_type().is_terminal() && !step.transitions.is_empty(), "an end was left"),
            (
                epoch.is_some_and(|epoch| epoch < before.epoch.0) && *after != before,
                "an old epoch did something",
            ),
        ] {
            if is_broken {
                seen.broken.get_or_insert(what);
            }
        }
        for effect in &step.effects {
            if let Effect::Stop { epoch, lost } = effect {
                self.ready.retain(|(run, entry)| (*run, *entry) > (idx, epoch.0) || *run != idx);
                self.stops.insert(((idx, epoch.0), !lost));
            }
        }
        if after.holder().is_none() {
            self.slots.remove(&idx);
            // Who ends a run ends its lease.
            if step.transitions.iter().any(|state| state.state_type().is_terminal()) {
                self.leases.remove(&idx);
            }
        }
        // Its wait ends in the transaction that ends it, and begins in the one that refuses a slot.
        if step.run.state.name == StateName::AwaitingConcurrencySlot {
            self.line.insert(idx, Place::Waiting);
        } else {
            self.line.remove(&idx);
        }
        self.rows[idx] = Row(Arc::new(step.run));
        true
    }

    /// The api judges a claim. Gives the epoch under which the worker has the run.
    fn claim(&mut self, worker_idx: WorkerIdx, (idx, epoch): Held) -> Option<u64> {
        let name = format!("w{worker_idx}-{}", self.workers[worker_idx].n_lives);
        let claimed = Event::Claimed { holder: worker(&name) };
        let before = self.run(idx);
        let is_new = before.epoch.0 == epoch && before.state.phase == Phase::Scheduled;
        let (n_free, line) = (self.n_free(), self.line());
        let has_one = if self.line.contains_key(&idx) { n_free > 0 } else { line.lets_through(n_free) };
        if is_new && !has_one {
            self.change(idx, Some(epoch), &Event::SlotRefused { limit: "gpu".into(), lack: Lack::Slot });
            return None;
        }
        let was_in_line = self.line.contains_key(&idx);
        if !self.change(idx, Some(epoch), &claimed) {
            return None;
        }
        let run = self.run(idx);
        let is_theirs = matches!(&run.state.phase, Phase::Pending { holder, .. } if *holder == worker(&name));
        let epoch = run.epoch.0;
        if is_new {
            let mut line = line;
            if !was_in_line && line.pass(n_free) {
                self.n_passed += 1;
                let lapsed = self.line.values_mut().find(|place| **place == Place::Lapsed);
                *lapsed.expect("it was let through for one") = Place::Passed;
            }
            self.slots.insert(idx);
        }
        is_theirs.then_some(epoch)
    }

    /// Has a worker get what was claimed for it.
    fn assign(&mut self, worker_idx: WorkerIdx, idx: RunIdx, epoch: u64) {
        self.leases.insert(idx, epoch);
        let worker = &mut self.workers[worker_idx];
        // The same assignment again is known by its epoch.
        if worker.code.is_none() && !worker.reports.iter().any(|(held, _)| *held == (idx, epoch)) {
            worker.code = Some(((idx, epoch), false));
        }
    }

    fn hear(&mut self, worker_idx: WorkerIdx, again: bool) {
        let worker = &mut self.workers[worker_idx];
        let ((idx, epoch), report) = *worker.reports.front().expect("there is one");
        if !again {
            worker.reports.pop_front();
        }
        if !self.change(idx, Some(epoch), &report.event()) {
            // Refused: it drops the work.
            let worker = &mut self.workers[worker_idx];
            worker.code = worker.code.filter(|(held, _)| *held != (idx, epoch));
            worker.reports.retain(|(held, _)| *held != (idx, epoch));
        }
        let is_over = !matches!(report, Report::Started);
        if is_over && self.leases.get(&idx) == Some(&epoch) {
            self.leases.remove(&idx);
        }
    }
}

impl Model for World {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        vec![System::new(self.n_runs, self.max_retries)]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        let may = |fault: Fault| system.n_faults < self.n_faults && self.faults.contains(&fault);
        for idx in 0..self.n_runs {
            let run = system.run(idx);
            let is_undelivered = run.state.phase == Phase::Scheduled && !system.is_known_to_delivery(idx);
            match system.line.get(&idx) {
                None if is_undelivered => actions.push(Action::Enqueue(idx)),
                // As many as are free, less those that are on their way, and one more for each that came not.
                Some(Place::Waiting)
                    if system.n_free() > 0
                        && system.n_free() + system.n_not_in_time() > system.line().n_reserved =>
                {
                    actions.push(Action::HandOut(idx));
                }
                Some(Place::Reserved) if system.n_lapses < self.n_lapses => {
                    actions.push(Action::Lapse(idx));
                }
                // The sweep: it may have been lost on its way.
                Some(Place::Reserved | Place::Lapsed | Place::Passed)
                    if is_undelivered && system.n_free() > 0 =>
                {
                    actions.push(Action::Enqueue(idx));
                }
                _ => {}
            }
            if run.holder().is_some() {
                let has_lease = system.leases.get(&idx) == Some(&run.epoch.0);
                let is_executed = system.is_executed(idx);
                // After a wipe all workers are heard first; whoever dies leaves a lease that runs out.
                if !is_executed || (has_lease && may(Fault::Silence)) {
                    actions.push(Action::Judge(idx));
                }
            }
            match &run.state.phase {
                Phase::Cancelling { .. } => actions.push(Action::Fire(idx)),
                Phase::Pending { .. } if may(Fault::StartTimeout) => actions.push(Action::Fire(idx)),
                _ => {}
            }
            if system.n_cancels < self.n_cancels && !run.state.state_type().is_terminal() {
                actions.push(Action::Cancel(idx));
            }
        }
        for (worker_idx, worker) in system.workers.iter().enumerate() {
            if worker.code.is_none() && !system.claims.contains_key(&worker_idx) {
                actions.extend(system.ready.iter().map(|entry| Action::Take(worker_idx, *entry)));
            }
            if system.claims.contains_key(&worker_idx) {
                actions.push(Action::Claim(worker_idx));
                actions.extend(may(Fault::Repeat).then_some(Action::RepeatClaim(worker_idx)));
                actions.extend(may(Fault::LoseAnswer).then_some(Action::LoseClaim(worker_idx)));
            }
            match worker.code {
                Some((_, false)) => actions.push(Action::Start(worker_idx)),
                Some(((idx, epoch), true)) => {
                    actions.push(Action::End(worker_idx, Report::Completed));
                    actions.extend((self.max_retries > 0).then_some(Action::End(worker_idx, Report::Failed)));
                    // A heartbeat that changes nothing is none of the model's business.
                    if system.run(idx).epoch.0 == epoch && !system.leases.contains_key(&idx) {
                        actions.push(Action::Announce(worker_idx));
                    }
                }
                None => {}
            }
            if !worker.reports.is_empty() {
                actions.push(Action::Hear(worker_idx));
                actions.extend(may(Fault::Repeat).then_some(Action::HearAgain(worker_idx)));
            }
            if may(Fault::Kill) && (worker.code.is_some() || !worker.reports.is_empty()) {
                actions.push(Action::Kill(worker_idx));
            }
        }
        actions.extend(system.stops.iter().map(|(held, tells)| Action::Stop(*held, *tells)));
        let knows = !system.ready.is_empty() || !system.leases.is_empty();
        actions.extend((may(Fault::Wipe) && knows).then_some(Action::Wipe));
    }

    fn next_state(&self, last: &System, action: Action) -> Option<System> {
        let mut next = last.clone();
        match action {
            Action::Enqueue(idx) => {
                next.ready.insert((idx, next.run(idx).epoch.0));
            }
            Action::HandOut(idx) => {
                next.line.insert(idx, Place::Reserved);
                next.ready.insert((idx, next.run(idx).epoch.0));
            }
            Action::Lapse(idx) => {
                next.n_lapses += 1;
                next.line.insert(idx, Place::Lapsed);
            }
            Action::Take(worker_idx, entry) => {
                next.ready.remove(&entry);
                next.claims.insert(worker_idx, entry);
            }
            Action::Claim(worker_idx) | Action::RepeatClaim(worker_idx) | Action::LoseClaim(worker_idx) => {
                let entry = next.claims[&worker_idx];
                let claimed = next.claim(worker_idx, entry);
                if matches!(action, Action::RepeatClaim(_)) {
                    next.n_faults += 1;
                } else {
                    next.claims.remove(&worker_idx);
                }
                match (action, claimed) {
                    (Action::Claim(_), Some(epoch)) => next.assign(worker_idx, entry.0, epoch),
                    (Action::LoseClaim(_), _) => next.n_faults += 1,
                    _ => {}
                }
            }
            Action::Start(worker_idx) => {
                let worker = &mut next.workers[worker_idx];
                let (held, _) = worker.code?;
                worker.code = Some((held, true));
                worker.reports.push_back((held, Report::Started));
                next.seen[held.0].n_executions += 1;
            }
            Action::End(worker_idx, report) => {
                let worker = &mut next.workers[worker_idx];
                let (held, _) = worker.code.take()?;
                worker.reports.push_back((held, report));
            }
            Action::Hear(worker_idx) => next.hear(worker_idx, false),
            Action::HearAgain(worker_idx) => {
                next.hear(worker_idx, true);
                next.n_faults += 1;
            }
            Action::Stop(held, tells) => {
                next.stops.remove(&(held, tells));
                for worker in &mut next.workers {
                    if worker.code.is_some_and(|(code, _)| code == held) {
                        worker.code = None;
                        if tells {
                            worker.reports.push_back((held, Report::Cancelled));
                        }
                    }
                }
            }
            Action::Announce(worker_idx) => {
                let ((idx, epoch), _) = next.workers[worker_idx].code?;
                next.leases.insert(idx, epoch);
            }
            Action::Judge(idx) => {
                let epoch = next.run(idx).epoch.0;
                let is_silent = next.is_executed(idx);
                next.n_faults += u8::from(is_silent);
                next.leases.remove(&idx);
                next.change(idx, Some(epoch), &Event::Crashed { cause: "its lease ran out".into() });
            }
            Action::Fire(idx) => {
                next.n_faults += u8::from(next.state(idx) == StateType::Pending);
                let epoch = next.run(idx).epoch.0;
                next.change(idx, Some(epoch), &Event::TimerFired);
            }
            Action::Cancel(idx) => {
                next.n_cancels += 1;
                next.change(idx, None, &Event::CancelRequested { reason: "enough".into(), actor: None });
            }
            Action::Kill(worker_idx) => {
                next.n_faults += 1;
                let n_lives = next.workers[worker_idx].n_lives + 1;
                next.workers[worker_idx] = Worker { n_lives, ..Worker::default() };
            }
            Action::Wipe => {
                next.n_faults += 1;
                next.ready.clear();
                next.leases.clear();
            }
        }
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn all(system: &System, is_so: impl Fn(RunIdx) -> bool) -> bool {
            (0..system.rows.len()).all(is_so)
        }
        vec![
            Property::eventually("every run ends, and nothing is held", |_, system: &System| {
                let is_over = all(system, |idx| system.state(idx).is_terminal());
                is_over && system.slots.is_empty() && system.line.is_empty()
            }),
            Property::always("a run completes once", |_, system: &System| {
                all(system, |idx| system.seen[idx].n_completions <= 1)
            }),
            Property::always("histories go forward", |_, system: &System| {
                all(system, |idx| system.seen[idx].broken.is_none())
            }),
            Property::always(
                "a limit is not exceeded, and its slots are those of held runs",
                |_, system: &System| {
                    let held: BTreeSet<RunIdx> =
                        (0..system.rows.len()).filter(|idx| system.run(*idx).holder().is_some()).collect();
                    system.slots == held && held.len() <= N_SLOTS
                },
            ),
            Property::always("one worker at most executes a run under its epoch", |_, system: &System| {
                all(system, |idx| {
                    let current = (idx, system.run(idx).epoch.0);
                    let executes = |worker: &&Worker| worker.code.is_some_and(|(held, _)| held == current);
                    system.workers.iter().filter(executes).count() <= 1
                })
            }),
            Property::always(
                "a run is executed once more at most for each fault and each retry",
                |_, system: &System| {
                    all(system, |idx| {
                        let allowed = 1 + u32::from(system.n_faults) + system.run(idx).retries;
                        u32::from(system.seen[idx].n_executions) <= allowed
                    })
                },
            ),
            Property::always(
                "no more come before those in line than came not in time",
                |_, system: &System| system.n_passed <= system.n_lapses,
            ),
            Property::sometimes(
                "one is let through for another, or none may",
                // One did not come, one is in line, and one is new.
                |world: &Self, system: &System| {
                    world.n_runs < 3 || world.n_lapses == 0 || system.n_passed > 0
                },
            ),
            Property::always("those in line are those that wait", |_, system: &System| {
                all(system, |idx| {
                    let waits = system.run(idx).state.name == StateName::AwaitingConcurrencySlot;
                    system.line.contains_key(&idx) == waits
                })
            }),
            // Without these the rest would say little.
            Property::sometimes("all complete", |_, system: &System| {
                all(system, |idx| system.state(idx) == StateType::Completed)
            }),
            Property::sometimes("one waits for a slot, or there is but one", |_, system: &System| {
                let waits = |idx| system.run(idx).state.name == StateName::AwaitingConcurrencySlot;
                system.rows.len() == 1 || !all(system, |idx| !waits(idx))
            }),
            Property::sometimes("a slot is kept for one, or there is but one", |_, system: &System| {
                system.rows.len() == 1 || system.line().n_reserved > 0
            }),
            Property::sometimes("one comes too late, or none may", |world: &Self, system: &System| {
                world.n_lapses == 0 || system.line().n_lapsed > 0
            }),
            Property::sometimes(
                "one fails after its retry, or it has none",
                |world: &Self, system: &System| {
                    world.max_retries == 0 || !all(system, |idx| system.state(idx) != StateType::Failed)
                },
            ),
        ]
    }
}

/// Goes through all states. The number says that it was no small world.
fn check(world: World, min_states: usize) {
    let checker = world.checker().spawn_dfs().join();
    checker.assert_properties();
    let n_states = checker.unique_state_count();
    assert!(n_states >= min_states, "only {n_states} states were gone through");
}

#[test]
fn two_runs_share_a_slot_and_both_end() {
    check(World { n_runs: 2, max_retries: 1, n_faults: 0, n_cancels: 1, faults: &[], n_lapses: 1 }, 2_000);
}

#[test]
fn three_runs_share_a_slot_that_is_kept_for_those_in_line() {
    check(World { n_runs: 3, max_retries: 1, n_faults: 0, n_cancels: 0, faults: &[], n_lapses: 1 }, 10_000);
}

#[test]
fn any_two_faults_and_a_cancel_leave_one_end_of_a_run() {
    check(
        World { n_runs: 1, max_retries: 1, n_faults: 2, n_cancels: 1, faults: ALL_FAULTS, n_lapses: 0 },
        100_000,
    );
}

#[test]
fn any_fault_and_a_cancel_leave_the_slot_free() {
    check(
        World { n_runs: 2, max_retries: 0, n_faults: 1, n_cancels: 1, faults: ALL_FAULTS, n_lapses: 1 },
        20_000,
    );
}
