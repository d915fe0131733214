use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{artifact::ArtifactArgs, deploy::DeployArgs, variable::VariableArgs};

/// Runs other people's work and never loses it.
#[derive(Parser, Debug)]
#[command(name = "tidegate", version, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List, show, follow and cancel runs
    Run(RunArgs),
    /// Bring deployments and their schedules to what a tidegate.toml says
    Deploy(DeployArgs),
    /// List, show, start and delete deployments, and roll them back
    Deployment(DeploymentArgs),
    /// List, set, show and delete concurrency limits
    Concurrency(ConcurrencyArgs),
    /// List, show, pause and resume queues, and bound how many of their runs are held
    Queue(QueueArgs),
    /// List, show, make, change, pause and resume work pools
    Pool(PoolArgs),
    /// List, show, pause, resume and delete schedules, tell their next times, and make up for past ones
    Schedule(crate::schedule::ScheduleArgs),
    /// List and show what runs have to show: texts, tables, links, images, progress
    Artifact(ArtifactArgs),
    /// List, set, show and delete named values that runs share
    Variable(VariableArgs),
    /// List, show and stop what is done to many runs at once
    Bulk(BulkArgs),
    /// Take runs of a work pool, and start each as a process
    Worker(WorkerArgs),
    /// Start all of Tidegate in this process: one port, nothing to install
    Dev(DevArgs),
    /// Start one service
    Server(ServerArgs),
    /// A worker of the demo (started by `dev --demo`)
    #[command(hide = true)]
    DemoWorker(DemoWorkerArgs),
}

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such run; 4 `watch`: a run ended other than \
                  COMPLETED; 69 no server answers."
)]
pub struct RunArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: RunCommand,
}

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such limit; 69 no server answers."
)]
pub struct ConcurrencyArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: ConcurrencyCommand,
}

#[derive(Subcommand, Debug)]
pub enum ConcurrencyCommand {
    /// List the limits with their slots, how many are taken, and how many runs wait
    Ls,
    /// Define a limit, or change it: what is not said is not asked for any more
    Set {
        /// The limit's name; `customer=*` is a limit for each value of `customer`
        name: String,
        /// How many runs may be held at once; 0 has every run that names the limit wait
        #[arg(value_name = "SLOTS", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        n_slots: Option<u32>,
        /// The same by name
        #[arg(
            long,
            value_name = "SLOTS",
            conflicts_with = "n_slots",
            value_parser = clap::value_parser!(u32).range(0..=1_000_000)
        )]
        slots: Option<u32>,
        /// How many may start in a time: `10/s`, `100/m`, `5/30s`
        #[arg(long, value_parser = parse_rate, required_unless_present_any = ["n_slots", "slots"])]
        rate: Option<(u32, Duration)>,
        /// How many of the rate may start at once after a rest; without it as many as in its time
        #[arg(long, requires = "rate", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        burst: Option<u32>,
        /// What becomes of a run that finds no slot
        #[arg(long, value_enum, default_value = "wait")]
        on_collision: OnCollision,
    },
    /// Show one limit and who has its slots
    Get {
        /// The limit's name
        name: String,
    },
    /// Take a limit away: it does not bind any more
    Delete {
        /// The limit's name
        name: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 the queue has no settings; 69 no server answers."
)]
pub struct QueueArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: QueueCommand,
}

#[derive(Subcommand, Debug)]
pub enum QueueCommand {
    /// List the queues that have settings or were used within the last hour
    Ls,
    /// Show one queue: how much waits and is held, and how many workers serve it
    Get {
        /// The queue's name
        name: String,
    },
    /// Set how many runs of a queue may be held at once
    Set {
        /// The queue's name
        name: String,
        /// How many runs; 0 has every run wait
        #[arg(
            long,
            value_parser = clap::value_parser!(u32).range(0..=1_000_000),
            required_unless_present = "no_limit",
            conflicts_with = "no_limit"
        )]
        slots: Option<u32>,
        /// As many as workers have slots for
        #[arg(long)]
        no_limit: bool,
    },
    /// Have no run of a queue start any more; what runs goes on
    Pause {
        /// The queue's name
        name: String,
        /// Why, for those who ask what a run waits for
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have the runs of a queue start again
    Resume {
        /// The queue's name
        name: String,
    },
    /// Take the settings of a queue away, its pause among them; its runs stay
    Delete {
        /// The queue's name
        name: String,
        /// That it has no settings is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such deployment or version; 69 no server answers."
)]
pub struct DeploymentArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: DeploymentCommand,
}

#[derive(Subcommand, Debug)]
pub enum DeploymentCommand {
    /// List the deployments by name
    Ls {
        /// Which deployments: `flow = etl AND tags:nightly`, `deployment = "*/nightly"`, `labels.team = ml`
        #[arg(long, default_value = "")]
        filter: String,
    },
    /// Show one deployment
    Get {
        /// Its name: `flow/deployment`
        name: String,
    },
    /// Start a run of a deployment, and tell its id
    Run(DeploymentRun),
    /// List the versions of a deployment that are kept, the newest first
    Versions {
        /// Its name: `flow/deployment`
        name: String,
    },
    /// Give a deployment what one of its versions said, as a new version
    Rollback {
        /// Its name: `flow/deployment`
        name: String,
        /// The version's number, as `versions` shows it
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        version: u64,
    },
    /// Take a deployment away with its versions; its runs stay
    Delete {
        /// Its name: `flow/deployment`
        name: String,
        /// That it is not there is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

#[derive(Args, Debug)]
pub struct DeploymentRun {
    /// Its name: `flow/deployment`
    pub name: String,
    /// A parameter; goes over `--params` and the deployment's own. A value that is no JSON is a text
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_param)]
    pub param: Vec<(String, serde_json::Value)>,
    /// Parameters as a JSON object; go over the deployment's own
    #[arg(long, value_name = "JSON")]
    pub params: Option<String>,
    /// A word to find the run by, beside those of the deployment
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// The queue, instead of the deployment's
    #[arg(long)]
    pub queue: Option<String>,
    /// What people call the run
    #[arg(long)]
    pub run_name: Option<String>,
    /// One key, one run of the deployment: a second call gives the run of the first
    #[arg(long)]
    pub key: Option<String>,
}

fn parse_param(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("is no parameter, such as `n=1` or `day=monday`")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such operation; 69 no server answers."
)]
pub struct BulkArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: BulkCommand,
}

#[derive(Subcommand, Debug)]
pub enum BulkCommand {
    /// List bulk operations, newest first; one that has ended is kept for a day
    Ls {
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        limit: u32,
    },
    /// Show one operation
    Get {
        /// The operation's id, as it was told when it was started
        id: String,
    },
    /// Have an operation go no further; what was done stays
    Cancel {
        /// The operation's id, as it was told when it was started
        id: String,
    },
}

#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct WorkerArgs {
    #[command(subcommand)]
    pub command: WorkerCommand,
}

#[derive(Subcommand, Debug)]
pub enum WorkerCommand {
    /// Take runs of a work pool and start them, until SIGTERM or Ctrl-C
    Start(Box<tidegate_worker::Options>),
}

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such work pool; 69 no server answers."
)]
pub struct PoolArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: PoolCommand,
}

#[derive(Subcommand, Debug)]
pub enum PoolCommand {
    /// List work pools
    Ls,
    /// Show one work pool: how much waits and is held, and how many workers it has
    Get {
        /// The pool's name
        name: String,
    },
    /// Make a work pool
    Create {
        /// The pool's name
        name: String,
        /// What its workers start
        #[arg(long, value_enum, default_value = "process")]
        r#type: PoolType,
        /// One that is there gets this specification
        #[arg(long)]
        update_if_exists: bool,
        #[command(flatten)]
        spec: PoolSpecArgs,
    },
    /// Change what is told about a work pool; what is not named stays
    Update {
        /// The pool's name
        name: String,
        /// As many as workers have slots for
        #[arg(long, conflicts_with = "slots")]
        no_limit: bool,
        #[command(flatten)]
        spec: PoolSpecArgs,
    },
    /// Have no run of a work pool start any more; what runs goes on
    Pause {
        /// The pool's name
        name: String,
        /// Why, for those who ask what a run waits for
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have the runs of a work pool start again
    Resume {
        /// The pool's name
        name: String,
    },
    /// Take a work pool away that no deployment names
    Delete {
        /// The pool's name
        name: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

#[derive(Args, Debug)]
pub struct PoolSpecArgs {
    /// What it is for
    #[arg(long)]
    pub description: Option<String>,
    /// A queue of it; the first named is served first. None: one of the pool's own name
    #[arg(long = "queue", value_name = "QUEUE")]
    pub queues: Vec<String>,
    /// How many runs it may hold at once
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub slots: Option<u32>,
    /// Job variables of all its runs: a JSON object
    #[arg(long, value_name = "JSON")]
    pub job_variables: Option<String>,
    /// A file with a JSON Schema of the job variables. Default: that of the type
    #[arg(long, value_name = "FILE")]
    pub job_variable_schema: Option<std::path::PathBuf>,
    /// A file with how a job is described to what starts it: a JSON object with `{{ variable }}` in it
    #[arg(long, value_name = "FILE")]
    pub job_template: Option<std::path::PathBuf>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolType {
    /// Processes on the worker's machine
    Process,
    /// Containers of a Docker engine
    Docker,
    /// Jobs of a Kubernetes cluster
    Kubernetes,
}

#[derive(Args, Debug, Clone)]
pub struct ServerAddress {
    /// Where the api listens
    #[arg(long, env = "TIDEGATE_ADDRESS", default_value = "http://127.0.0.1:4400", global = true)]
    pub address: String,
    /// The tenant
    #[arg(long, env = "TIDEGATE_NAMESPACE", default_value = "default", global = true)]
    pub namespace: String,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people
    Table,
    /// For programs: one document, or one a line where lines are followed (`logs`, `watch`)
    Json,
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
    },
    /// Tell how many runs there are
    Count {
        /// Which runs, as for `ls`
        #[arg(long, default_value = "")]
        filter: String,
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
        id: String,
        /// Fetch parameters and result however large they are
        #[arg(long)]
        full: bool,
    },
    /// Show what the pauses of a run ask for, and what they were given
    Inputs {
        /// The run's id
        id: String,
        /// Fetch values however large they are
        #[arg(long)]
        full: bool,
    },
    /// Say why a run is where it is: what it waits for, what happened, who did it
    Explain {
        /// The run's id
        id: String,
    },
    /// Show a run and all runs below it
    Tree {
        /// The run's id
        id: String,
        /// Show each run, also where many have the same name
        #[arg(long)]
        all: bool,
    },
    /// Show what a run has logged
    Logs {
        /// The run's id
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
    Watch {
        /// The runs' ids
        #[arg(required = true)]
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
    #[arg(required_unless_present_any = ["filter", "tree"], conflicts_with_all = ["filter", "tree"])]
    pub ids: Vec<String>,
    /// All that match, as for `ls`
    #[arg(long, conflicts_with = "tree")]
    pub filter: Option<String>,
    /// This run and all runs below it
    #[arg(long, value_name = "ID")]
    pub tree: Option<String>,
    /// Only tell how many runs of --filter or --tree there are
    #[arg(long, conflicts_with = "ids")]
    pub dry_run: bool,
    /// Do not ask whether so many runs of --filter or --tree are meant
    #[arg(short, long, conflicts_with = "ids")]
    pub yes: bool,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}; write it as `90s`"))?;
    Duration::try_from(span).map_err(|_| "is negative".to_owned())
}

/// Starts, and the time in which so many may come.
fn parse_rate(text: &str) -> Result<(u32, Duration), String> {
    let mend = "write it as `10/s`, `100/m` or `5/30s`";
    let (starts, period) = text.split_once('/').ok_or_else(|| format!("has no `/`; {mend}"))?;
    let starts = starts.trim().parse().map_err(|error| format!("{error}; {mend}"))?;
    let period = period.trim();
    // A unit alone is one of it.
    let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
        parse_duration(period)
    } else {
        parse_duration(&format!("1{period}"))
    };
    Ok((starts, period.map_err(|error| format!("{error}; {mend}"))?))
}

/// What becomes of a run that finds no slot of a limit.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCollision {
    /// It waits
    Wait,
    /// It is given up: CANCELLED as `Skipped`
    Skip,
    /// It waits, and the run that has held its slot longest is cancelled
    CancelOldest,
    /// Of it and those that have slots, the one that was created last is cancelled
    CancelNewest,
}

fn parse_json(text: &str) -> Result<String, String> {
    serde_json::from_str::<serde_json::Value>(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("is no JSON ({error}); a text needs quotes of its own: '\"yes\"'"))
}

/// What the key is unique in: the first of these that the run was created with.
#[derive(Args, Debug, Clone)]
#[group(required = true, multiple = false)]
pub struct KeyScope {
    /// The id of its parent
    #[arg(long)]
    pub parent: Option<String>,
    /// Its deployment: `flow/deployment`
    #[arg(long)]
    pub deployment: Option<String>,
    /// The name of its flow
    #[arg(long)]
    pub flow: Option<String>,
    /// The name of its task
    #[arg(long)]
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

#[derive(Args, Debug, Clone)]
pub struct DevArgs {
    /// The port for everything, on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 4400)]
    pub port: u16,
    /// Where the SQLite database lives [default: $XDG_DATA_HOME/tidegate or ~/.local/share/tidegate]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["ephemeral", "postgres"])]
    pub data: Option<PathBuf>,
    /// Keep everything in memory, and forget it at the end
    #[arg(long, conflicts_with = "postgres")]
    pub ephemeral: bool,
    /// Keep runs and logs in this Postgres: `postgres://user:password@host/database`
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
    /// Deliver through this Redis: `redis://host:port`
    #[arg(long, value_name = "URL")]
    pub redis: Option<String>,
    /// Take an inventory of the files in DIR with two worker processes, and kill one in the middle
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = ".")]
    pub demo: Option<PathBuf>,
    /// End after the demo
    #[arg(long, requires = "demo")]
    pub exit: bool,
}

#[derive(Args, Debug)]
pub struct ServerArgs {
    /// Which one
    #[arg(value_enum)]
    pub service: Service,
    /// Arguments of the service: `--config FILE`, `--check-config`, `--print-config`, `--check-health`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Runs: creates, tells, waits, cancels (needs Postgres)
    Api,
    /// Time: due runs, retries, timeouts, lost leases (needs Postgres)
    Scheduler,
    /// Workers: delivery and leases (needs Redis)
    TaskQueue,
    /// Logs: stores, tells, follows (needs Postgres)
    LogIngest,
}

#[derive(Args, Debug)]
pub struct DemoWorkerArgs {
    /// The queue to serve
    #[arg(long)]
    pub queue: String,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

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
