use std::num::NonZeroUsize;

use clap::Parser;

/// Runs benches, and prints what they measured beside the bound of the same minute.
#[derive(Clone, Debug, Parser)]
#[command(name = "tidegate-bench")]
pub(crate) struct Settings {
    /// Which; none: all
    pub names: Vec<String>,

    /// A Postgres server on which each bench makes a database of its own: postgres://USER@HOST:PORT/postgres
    #[arg(long, env = "TIDEGATE_BENCH_POSTGRES_URL")]
    pub postgres: String,

    /// How often bound and subject are measured in turn
    #[arg(long, default_value = "5")]
    pub rounds: NonZeroUsize,

    /// Runs of a round, instead of what each bench takes for its measure
    #[arg(long)]
    runs: Option<NonZeroUsize>,

    /// Writer lanes of the engine, and so connections of its bound; unset: the engine's default
    #[arg(long)]
    pub lanes: Option<NonZeroUsize>,

    /// Measure the subject without its bound, for a profiler
    #[arg(long)]
    pub alone: bool,

    /// Follow the feed of events beside the writes, as each replica of the api does
    #[arg(long)]
    pub feed: bool,
}

impl Settings {
    /// The number of runs of a round: what the command line says, else `default`.
    pub fn n_runs(&self, default: usize) -> usize {
        self.runs.map_or(default, NonZeroUsize::get)
    }

    /// Everything as small as it goes, for the test that the benches still run.
    #[cfg(test)]
    pub fn smallest(postgres: String) -> Self {
        Self::parse_from(["tidegate-bench", "--postgres", &postgres, "--rounds", "1", "--runs", "20"])
    }
}
