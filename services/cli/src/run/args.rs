use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    common::{Common, Watch, parse_duration},
    completion::named,
    names,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such run; 4 `watch`: a run ended other than \
                  COMPLETED; 69 no server answers."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: RunCommand,
}

#[derive(Subcommand, Debug)]
pub enum RunCommand {
    /// List runs, newest first
    Ls {
        /// Which runs: `state = (RUNNING OR PENDING) AND name = inventory`, `tags:nightly`, `labels.team = ml`,
        /// `created_at > -1h`
        #[arg(long, default_value = "")]
        filter: String,
        /// In which order: `id` (of creation), `created_at`, `due_at`, `started_at`, `ended_at`, `priority`, `name` or
        /// `run_name`, with `desc` for the greatest first; what has no value comes last [default: id desc]
        #[arg(long, default_value = "", hide_default_value = true)]
        order_by: String,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
        #[command(flatten)]
        watch: Watch,
    },
    /// Tell how many runs there are
    Count {
        /// Which runs, as for `ls`
        #[arg(long, default_value = "")]
        filter: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show the run that an idempotency key has made
    Find {
        /// The key
        #[arg(long)]
        key: String,
        #[command(flatten)]
        scope: KeyScope,
        /// Fetch parameters and result however large they are
        #[arg(long)]
        full: bool,
    },
    /// Show one run with its parameters, result and history; a value above 1 MiB by its reference
    Get {
        /// The run's id
        #[arg(add = named(names::runs))]
        id: String,
        /// Fetch parameters and result however large they are
        #[arg(long)]
        full: bool,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show what the pauses of a run ask for, and what they were given
    Inputs {
        /// The run's id
        #[arg(add = named(names::runs))]
        id: String,
        /// Fetch values however large they are
        #[arg(long)]
        full: bool,
    },
    /// Say why a run is where it is: what it waits for, what happened, who did it
    Explain {
        /// The run's id
        #[arg(add = named(names::runs))]
        id: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show a run and all runs below it
    Tree {
        /// The run's id
        #[arg(add = named(names::runs))]
        id: String,
        /// Show each run, also where many have the same name
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show what a run has logged
    Logs {
        /// The run's id
        #[arg(add = named(names::runs))]
        id: String,
        /// The lines of all runs below it too; the run must be the uppermost one
        #[arg(long)]
        tree: bool,
        /// Go on as new lines come, until Ctrl-C
        #[arg(short, long, conflicts_with_all = ["contains", "limit"])]
        follow: bool,
        /// Only lines at least this grave
        #[arg(long, value_enum)]
        level: Option<LogLevel>,
        /// Only lines with this text, in any case
        #[arg(long, default_value = "")]
        contains: String,
        /// How many lines at most, from the oldest
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Follow runs until they have ended
    #[command(
        after_help = "Exit codes: 0 all have completed; 1 error; 2 wrong usage; 3 no such run; 4 one ended other than \
                      COMPLETED; 69 no server answers."
    )]
    Watch {
        /// The runs' ids
        #[arg(required = true, add = named(names::runs))]
        ids: Vec<String>,
    },
    /// Cancel runs, each with all runs below it
    Cancel {
        #[command(flatten)]
        targets: Targets,
        /// Why, for the history
        #[arg(long, default_value = "cancelled from the command line")]
        reason: String,
    },
    /// Have queued runs wait; what is executed is taken from its worker
    Pause {
        #[command(flatten)]
        targets: Targets,
        /// How long a run may wait before it fails: `90s`, `2h` [default: for ever]
        #[arg(long, value_parser = parse_duration)]
        timeout: Option<Duration>,
        /// Why, for the history
        #[arg(long, default_value = "paused from the command line")]
        reason: String,
    },
    /// Have paused runs go on
    Resume {
        #[command(flatten)]
        targets: Targets,
        /// What the code that waits is given, as JSON
        #[arg(long, value_name = "JSON", value_parser = parse_json)]
        input: Option<String>,
        /// Only from this pause, as `get` and `inputs` name it: a run that is at another one is left there
        #[arg(long, value_name = "KEY", conflicts_with_all = ["filter", "tree"])]
        pause_key: Option<String>,
    },
    /// Try runs again that have ended; with --filter or --tree those that did not complete
    Retry {
        #[command(flatten)]
        targets: Targets,
        /// Why, for the history
        #[arg(long, default_value = "retried from the command line")]
        reason: String,
    },
    /// Delete runs that have ended, with their history
    Delete {
        #[command(flatten)]
        targets: Targets,
    },
}

/// Which runs are meant.
#[derive(Args, Debug, Clone)]
#[group(skip)] // or `--dry-run` and `--yes` would be of the group too, and shut the others out
pub struct Targets {
    /// The runs' ids
    #[arg(required_unless_present_any = ["filter", "tree"], conflicts_with_all = ["filter", "tree"], add = named(names::runs))]
    pub ids: Vec<String>,
    /// All that match, as for `ls`
    #[arg(long, conflicts_with = "tree")]
    pub filter: Option<String>,
    /// This run and all runs below it
    #[arg(long, value_name = "ID", add = named(names::runs))]
    pub tree: Option<String>,
    /// Only tell how many runs of --filter or --tree there are
    #[arg(long, conflicts_with = "ids")]
    pub dry_run: bool,
    /// Do not ask whether so many runs of --filter or --tree are meant
    #[arg(short, long, conflicts_with = "ids")]
    pub yes: bool,
}

/// What the key is unique in: the first of these that the run was created with.
#[derive(Args, Debug, Clone)]
#[group(required = true, multiple = false)]
pub struct KeyScope {
    /// The id of its parent
    #[arg(long, add = named(names::runs))]
    pub parent: Option<String>,
    /// Its deployment: `flow/deployment`
    #[arg(long, add = named(names::deployments))]
    pub deployment: Option<String>,
    /// The name of its flow
    #[arg(long, add = named(names::flows))]
    pub flow: Option<String>,
    /// The name of its task
    #[arg(long, add = named(names::tasks))]
    pub task: Option<String>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Finest
    Trace,
    /// For developers
    Debug,
    /// As expected
    Info,
    /// Odd
    Warn,
    /// Wrong
    Error,
    /// The end
    Fatal,
}

fn parse_json(text: &str) -> Result<String, String> {
    serde_json::from_str::<serde_json::Value>(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("is no JSON ({error}); a text needs quotes of its own: '\"yes\"'"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::args::Cli;

    #[test]
    fn what_says_nothing_of_ids_is_refused_beside_them() {
        for more in [&["--yes"][..], &["--dry-run"], &["--tree", "x"]] {
            let args = [&["tidegate", "run", "delete", "x"], more].concat();
            assert!(Cli::try_parse_from(args).is_err(), "{more:?}");
        }
        let args = ["tidegate", "run", "resume", "--filter", "name = x", "--pause-key", "k"];
        assert!(Cli::try_parse_from(args).is_err());
    }
}
