//! What is done to which part, and when: decided by the seed alone.

use std::{collections::BTreeSet, fmt, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::settings::RunSettings;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// By the number of its replica, as other services of which there are several.
    Api(usize),
    TaskQueue(usize),
    Scheduler(usize),
    LogIngest,
    /// By its number.
    Worker(usize),
    Redis,
    Postgres,
}

impl Part {
    /// Every process of the services.
    pub fn services(n_replicas: usize) -> Vec<Self> {
        let kinds: [fn(usize) -> Self; 3] = [Self::Api, Self::TaskQueue, Self::Scheduler];
        let replicas = kinds.into_iter().flat_map(|kind| (0..n_replicas).map(kind));
        replicas.chain([Self::LogIngest]).collect()
    }

    /// What it is, without a number.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Api(_) => "api",
            Self::TaskQueue(_) => "task-queue",
            Self::Scheduler(_) => "scheduler",
            Self::LogIngest => "log-ingest",
            Self::Worker(_) => "worker",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
        }
    }

    pub fn name(self) -> String {
        match self {
            Self::Api(number) | Self::TaskQueue(number) | Self::Scheduler(number) | Self::Worker(number) => {
                format!("{}-{number}", self.kind())
            }
            Self::LogIngest | Self::Redis | Self::Postgres => self.kind().to_owned(),
        }
    }
}

/// A connection that leads through a proxy, which shares it out among the replicas that are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Link {
    ApiToPostgres,
    SchedulerToPostgres,
    LogIngestToPostgres,
    TaskQueueToRedis,
    ApiToTaskQueue,
    SchedulerToTaskQueue,
    WorkersToTaskQueue,
    TaskQueueToApi,
    WorkersToApi,
    CallersToApi,
    WorkersToLogIngest,
}

impl Link {
    pub const ALL: [Self; 11] = [
        Self::ApiToPostgres,
        Self::SchedulerToPostgres,
        Self::LogIngestToPostgres,
        Self::TaskQueueToRedis,
        Self::ApiToTaskQueue,
        Self::SchedulerToTaskQueue,
        Self::WorkersToTaskQueue,
        Self::TaskQueueToApi,
        Self::WorkersToApi,
        Self::CallersToApi,
        Self::WorkersToLogIngest,
    ];
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// SIGKILL, and a new process after the time.
    Kill(Part),
    /// An orderly stop, and a new process when the old one has ended.
    Restart(Part),
    /// SIGSTOP, and SIGCONT after the time.
    Freeze(Part),
    /// FLUSHALL.
    WipeRedis,
    /// All connections end, and none come through for the time.
    Cut(Link),
    /// Nothing passes for the time, and no connection ends.
    Stall(Link),
}

impl Fault {
    /// The fault without the number of a replica or worker: what figures are grouped by.
    pub fn kind(self) -> String {
        match self {
            Self::Kill(of) => format!("kill {}", of.kind()),
            Self::Restart(of) => format!("restart {}", of.kind()),
            Self::Freeze(of) => format!("freeze {}", of.kind()),
            Self::WipeRedis => "wipe redis".to_owned(),
            Self::Cut(link) => format!("cut {link:?}"),
            Self::Stall(link) => format!("stall {link:?}"),
        }
    }

    /// Is long at times: longer than a lease, where that is what it keeps from being renewed, or than what the report of
    /// an end may wait without harm.
    fn may_be_long(self) -> bool {
        match self {
            Self::Freeze(part) => !matches!(part, Part::Scheduler(_) | Part::LogIngest),
            Self::Cut(link) | Self::Stall(link) => {
                matches!(link, Link::TaskQueueToRedis | Link::WorkersToTaskQueue | Link::TaskQueueToApi)
            }
            Self::Kill(_) | Self::Restart(_) | Self::WipeRedis => false,
        }
    }
}

/// A fault at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Since the load began.
    pub at: Duration,
    pub fault: Fault,
    /// How long the part is away, where that is ours to say.
    pub lasts: Duration,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.fault {
            Fault::Kill(part) | Fault::Restart(part) | Fault::Freeze(part) => format!(" ({})", part.name()),
            _ => String::new(),
        };
        write!(f, "{:7.2} s  {}{part} for {:?}", self.at.as_secs_f64(), self.fault.kind(), self.lasts)
    }
}

/// Before the load ends, faults do.
const LAST_FAULT_BEFORE_END: Duration = Duration::from_secs(5);

/// The script of a seed. Faults come from a shuffled deck that has each of them, so that none comes again before all
/// have been. They may overlap.
pub(crate) fn of_seed(seed: u64, settings: &RunSettings) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed);
    let end = settings.load_lasts().saturating_sub(LAST_FAULT_BEFORE_END);
    let mut steps = Vec::new();
    let mut rest = Vec::new();
    let mut turn = settings.calm();
    while turn < end {
        if rest.is_empty() {
            rest = deck(settings.n_replicas(), settings.n_workers(), &mut rng);
            rest.shuffle(&mut rng);
        }
        let Some(fault) = rest.pop() else { break };
        let at = turn + settings.every().mul_f64(rng.random_range(0.0..0.5));
        let is_long = fault.may_be_long() && rng.random_ratio(1, 3);
        let lasts_ms = if is_long { rng.random_range(7_000..10_000) } else { rng.random_range(200..3_000) };
        steps.push(Step { at, fault, lasts: Duration::from_millis(lasts_ms) });
        turn += settings.every();
    }
    steps
}

/// The kinds of faults that a script has none of.
pub(crate) fn not_drawn(script: &[Step]) -> Vec<String> {
    // Which replica is hit is left to chance; kinds are always the same.
    let kinds: BTreeSet<String> =
        deck(1, 1, &mut StdRng::seed_from_u64(0)).into_iter().map(Fault::kind).collect();
    let drawn: BTreeSet<String> = script.iter().map(|step| step.fault.kind()).collect();
    kinds.difference(&drawn).cloned().collect()
}

fn deck(n_replicas: usize, n_workers: usize, rng: &mut StdRng) -> Vec<Fault> {
    let mut deck = vec![Fault::WipeRedis];
    let mut one = |kind: fn(usize) -> Part, n: usize| kind(rng.random_range(0..n));
    let parts = [
        one(Part::Api, n_replicas),
        one(Part::TaskQueue, n_replicas),
        one(Part::Scheduler, n_replicas),
        // Workers twice: theirs are the faults that cost executions.
        one(Part::Worker, n_workers),
        one(Part::Worker, n_workers),
        Part::LogIngest,
        Part::Redis,
        Part::Postgres,
    ];
    for part in parts {
        deck.extend([Fault::Kill(part), Fault::Restart(part), Fault::Freeze(part)]);
    }
    for link in Link::ALL {
        deck.extend([Fault::Cut(link), Fault::Stall(link)]);
    }
    deck
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::settings::{Command, Settings};

    fn settings(minutes: &str) -> RunSettings {
        let Command::Run(settings) =
            Settings::parse_from(["tidegate-chaos", "run", "--minutes", minutes]).command
        else {
            unreachable!("the command says run");
        };
        settings
    }

    #[test]
    fn the_same_seed_gives_the_same_script_and_another_one_another() {
        let settings = settings("10");
        assert_eq!(of_seed(7, &settings), of_seed(7, &settings));
        assert_ne!(of_seed(7, &settings), of_seed(8, &settings));
    }

    #[test]
    fn a_script_of_the_usual_length_has_every_fault_of_every_part() {
        let Command::Run(settings) = Settings::parse_from(["tidegate-chaos", "run"]).command else {
            unreachable!("the command says run");
        };
        assert_eq!(not_drawn(&of_seed(1, &settings)), [""; 0]);
    }

    #[test]
    fn a_short_script_says_what_it_lacks() {
        let script = of_seed(1, &settings("1"));
        let lacking = not_drawn(&script);
        assert!(!lacking.is_empty());
        assert!(script.iter().all(|step| !lacking.contains(&step.fault.kind())));
    }

    #[test]
    fn faults_come_in_order_after_the_calm_and_before_the_end() {
        let settings = settings("3");
        let script = of_seed(3, &settings);
        assert!(script.is_sorted_by_key(|step| step.at));
        assert!(script[0].at >= settings.calm());
        assert!(script.last().unwrap().at < settings.load_lasts());
    }
}
