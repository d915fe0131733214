use std::{num::NonZeroU32, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

/// Proves that no task is lost, whatever dies.
#[derive(Debug, Parser)]
#[command(name = "tidegate-chaos")]
pub(crate) struct Settings {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the script of a seed under load, and judges what came of it
    Run(RunSettings),
    /// A worker that tells the recorder of each execution (`run` starts it)
    #[command(hide = true)]
    Worker(WorkerSettings),
    /// Writes down what workers tell (`run` starts it)
    #[command(hide = true)]
    Recorder(RecorderSettings),
}

/// Bounds keep a slip of the hand from filling a disk.
#[derive(Clone, Debug, Args)]
pub(crate) struct RunSettings {
    /// What decides the script; unset: drawn, and printed
    #[arg(long)]
    pub seed: Option<u64>,

    /// How long the load lasts; the default has time for every fault
    #[arg(long, default_value = "5", value_parser = minutes)]
    pub minutes: f64,

    /// Tasks a second
    #[arg(long, default_value = "500", value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub rate: u32,

    /// Seconds of load before the first fault: start latencies are measured in them
    #[arg(long, default_value = "10")]
    pub calm: u32,

    /// Seconds between two faults, on average
    #[arg(long, default_value = "6")]
    pub every: NonZeroU32,

    /// Processes of the api, of task-queue and of the scheduler each
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=8))]
    pub replicas: u32,

    /// Worker processes
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(2..=64))]
    pub workers: u32,

    /// Seconds that what was accepted may take to end after the load and the last fault
    #[arg(long, default_value = "120")]
    pub patience: u32,

    /// Print the script and end
    #[arg(long)]
    pub dry_run: bool,

    /// The folder with `postgres` and `initdb`; unset: the newest that is installed
    #[arg(long, env = "PG_BIN")]
    pub postgres_bin: Option<PathBuf>,
}

impl RunSettings {
    pub fn load_lasts(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    pub fn calm(&self) -> Duration {
        Duration::from_secs(self.calm.into())
    }

    pub fn every(&self) -> Duration {
        Duration::from_secs(self.every.get().into())
    }

    /// After which time it hangs: twice what load and patience take, and some minutes to start, to read every history
    /// and to end.
    pub fn may_last(&self) -> Duration {
        (self.load_lasts() + Duration::from_secs(self.patience.into())) * 2 + Duration::from_secs(300)
    }

    pub fn n_replicas(&self) -> usize {
        self.replicas as usize
    }

    pub fn n_workers(&self) -> usize {
        self.workers as usize
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WorkerSettings {
    /// The queue
    #[arg(long)]
    pub queue: String,
    /// The recorder's socket
    #[arg(long)]
    pub socket: PathBuf,
    /// Whether it has the label that some tasks require
    #[arg(long)]
    pub labelled: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RecorderSettings {
    /// Where it listens
    #[arg(long)]
    pub socket: PathBuf,
    /// What it appends to
    #[arg(long)]
    pub file: PathBuf,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.5..=120.0).contains(&minutes) {
        return Ok(minutes);
    }
    Err("a run has 0.5 to 120 minutes".to_owned())
}
