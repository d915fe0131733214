//! What is done to which part, and when: decided by the seed alone.

use std::{fmt, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::settings::RunSettings;

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    Api,
    TaskQueue,
    Scheduler,
    LogIngest,
    /// By its number.
    Worker(usize),
    Redis,
    Postgres,
}

impl Part {
    pub const SERVICES: [Self; 4] = [Self::Api, Self::TaskQueue, Self::Scheduler, Self::LogIngest];

    pub fn name(self) -> String {
        match self {
            Self::Api => "api".into(),
            Self::TaskQueue => "task-queue".into(),
            Self::Scheduler => "scheduler".into(),
            Self::LogIngest => "log-ingest".into(),
            Self::Worker(number) => format!("worker-{number}"),
            Self::Redis => "redis".into(),
            Self::Postgres => "postgres".into(),
        }
    }
}

/// A connection that leads through a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Link {
    ApiToPostgres,
    SchedulerToPostgres,
    LogIngestToPostgres,
    TaskQueueToRedis,
    WorkersToTaskQueue,
}

impl Link {
    pub const ALL: [Self; 5] = [
        Self::ApiToPostgres,
        Self::SchedulerToPostgres,
        Self::LogIngestToPostgres,
        Self::TaskQueueToRedis,
        Self::WorkersToTaskQueue,
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
    /// The fault without the number of a worker: what figures are grouped by.
    pub fn kind(self) -> String {
        let part = |part: Part| match part {
            Part::Worker(_) => "worker".to_owned(),
            other => other.name(),
        };
        match self {
            Self::Kill(of) => format!("kill {}", part(of)),
            Self::Restart(of) => format!("restart {}", part(of)),
            Self::Freeze(of) => format!("freeze {}", part(of)),
            Self::WipeRedis => "wipe redis".to_owned(),
            Self::Cut(link) => format!("cut {link:?}"),
            Self::Stall(link) => format!("stall {link:?}"),
        }
    }

    /// Can keep its part away for longer than a lease.
    fn may_be_long(self) -> bool {
        match self {
            Self::Freeze(part) => matches!(part, Part::Worker(_) | Part::TaskQueue),
            Self::Cut(link) | Self::Stall(link) => {
                matches!(link, Link::TaskQueueToRedis | Link::WorkersToTaskQueue)
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
            rest = deck(settings.n_workers(), &mut rng);
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

fn deck(n_workers: usize, rng: &mut StdRng) -> Vec<Fault> {
    let mut deck = vec![
        Fault::WipeRedis,
        Fault::Kill(Part::Redis),
        Fault::Restart(Part::Redis),
        Fault::Kill(Part::Postgres),
        Fault::Restart(Part::Postgres),
    ];
    // Workers twice: theirs are the faults that cost executions.
    let workers = [rng.random_range(0..n_workers), rng.random_range(0..n_workers)].map(Part::Worker);
    for part in Part::SERVICES.into_iter().chain(workers) {
        deck.extend([Fault::Kill(part), Fault::Restart(part), Fault::Freeze(part)]);
    }
    for link in Link::ALL {
        deck.extend([Fault::Cut(link), Fault::Stall(link)]);
    }
    deck
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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
    fn a_long_script_has_every_fault_of_every_part() {
        let script = of_seed(1, &settings("10"));
        let seen: BTreeSet<String> = script.iter().map(|step| step.fault.kind()).collect();
        let mut rng = StdRng::seed_from_u64(1);
        let wanted: BTreeSet<String> = deck(4, &mut rng).into_iter().map(Fault::kind).collect();
        assert_eq!(seen, wanted);
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
