//! `tidegate worker …`: a worker of a work pool, and all workers as the server knows them.

use std::{ffi::OsString, pin::pin, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use tidegate_sdk_core::{
    Client,
    proto::{Worker, WorkerEnd},
};

use crate::{
    ask::{DONE, Outcome, ask},
    common::{Common, Listed, Watch},
    completion::{self, named},
    config::Settings,
    fault::Fault,
    names::{self, nearest},
    output::{printable, worker_detail, worker_json, worker_table},
    printer::{Printer, enough},
};

/// How often `drain --wait` looks whether the worker has ended.
const LOOKS: Duration = Duration::from_millis(500);

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, or ended by Ctrl-C or SIGTERM; 1 error; 2 wrong usage; 3 no such worker; 69 no \
                  server answers."
)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: WorkerCommand,
}

#[derive(Subcommand, Debug)]
pub enum WorkerCommand {
    /// Take runs of a work pool and start them, until SIGTERM or Ctrl-C
    #[command(
        after_help = "Exit codes: 0 ended by Ctrl-C, SIGTERM or `worker drain`, or `--check-health`: it takes runs; 1 error, \
                      also where no server answers; 2 wrong usage."
    )]
    Start(Box<StartArgs>),
    /// Fetch the code of a run, as its pod does before it is executed
    #[command(hide = true)]
    FetchSource(tidegate_worker::FetchSource),
    /// List the workers that are there, and those that were heard of within the last hour
    Ls {
        /// Only those of this work pool
        #[arg(long, add = named(names::pools))]
        pool: Option<String>,
        /// Leave out those that have ended
        #[arg(long)]
        live: bool,
        #[command(flatten)]
        listed: Listed,
    },
    /// Show one worker
    Get {
        /// Its id, or its name where only one has that
        #[arg(add = named(names::workers))]
        worker: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Have a worker take no more runs, let those it has end, however long they take, and then end itself
    ///
    /// Who keeps workers running, such as systemd or Kubernetes, starts another one in its place.
    Drain {
        /// Its id, or its name where only one that is there has that
        #[arg(add = named(names::workers))]
        worker: String,
        /// Wait until it has ended; Ctrl-C ends the waiting alone, with exit code 1
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Args, Debug)]
pub struct StartArgs {
    #[command(flatten)]
    pub options: tidegate_worker::Options,
}

/// Does what the arguments say.
pub fn main(args: WorkerArgs) -> ExitCode {
    let command = match args.command {
        WorkerCommand::Start(_) if args.common.output.is_some() => {
            return Fault::usage("--output is for answers, and `worker start` gives none: leave it out")
                .report();
        }
        WorkerCommand::Start(start) => return tidegate_worker::run(start.options),
        WorkerCommand::FetchSource(options) => return tidegate_worker::fetch_source(options),
        command => command,
    };
    ask(&args.common, async |client, printer| match command {
        WorkerCommand::Start(_) | WorkerCommand::FetchSource(_) => DONE, // was carried out above
        WorkerCommand::Ls { pool, live, listed } => {
            ls(client, printer, &pool.unwrap_or_default(), live, &listed).await
        }
        WorkerCommand::Get { worker, watch } => get(client, printer, &worker, watch).await,
        WorkerCommand::Drain { worker, wait } => drain(client, printer, &worker, wait).await,
    })
}

async fn ls(client: &Client, printer: &Printer, pool: &str, live: bool, listed: &Listed) -> Outcome {
    let look = async || {
        let mut workers = client.find_workers(pool, &listed.filter).await?;
        workers.retain(|worker| worker.is_live || !live);
        Ok(printer.render(|| workers.iter().map(worker_json).collect(), || worker_table(&workers)))
    };
    printer.show(listed.watch, look).await
}

async fn get(client: &Client, printer: &Printer, named: &str, watch: Watch) -> Outcome {
    let look = async || {
        let workers = client.workers("").await?;
        let worker = find(&workers, named)?;
        Ok(printer.render(|| worker_json(worker), || worker_detail(worker)))
    };
    printer.show(watch, look).await
}

async fn drain(client: &Client, printer: &Printer, named: &str, wait: bool) -> Outcome {
    let mut workers = client.workers("").await?;
    // A name that was that of others before means the one that is there.
    if workers.iter().any(|worker| worker.is_live && worker.name == named) {
        workers.retain(|worker| worker.is_live);
    }
    let id = find(&workers, named)?.id.clone();
    client.drain_worker(&id).await?;
    let worker = if wait { until_gone(client, printer, &id).await? } else { look_at(client, &id).await? };
    printer.answer(|| worker_json(&worker), || worker_detail(&worker))
}

async fn look_at(client: &Client, id: &str) -> Result<Worker, Fault> {
    let workers = client.workers("").await?;
    let worker = workers.into_iter().find(|worker| worker.id == id);
    worker.ok_or_else(|| Fault::missing(format!("worker {id} is not known any more")))
}

/// Waits until it has ended. Ctrl-C ends the waiting, which has not come to what it was for.
async fn until_gone(client: &Client, printer: &Printer, id: &str) -> Result<Worker, Fault> {
    let (mut enough, mut told) = (pin!(enough()), None);
    let given_up = || Fault::stopped(format!("worker {id} has not ended yet: it drains all the same"));
    loop {
        let worker = tokio::select! {
            biased;
            () = &mut enough => return Err(given_up()),
            worker = look_at(client, id) => worker?,
        };
        if worker.end() == WorkerEnd::Lost {
            return Err(Fault::stopped(format!(
                "worker {id} was lost before it had ended: it went silent or broke off; its runs start again elsewhere, by \
                 their policies"
            )));
        }
        if !worker.is_live {
            return Ok(worker);
        }
        if printer.is_table() && told != Some(worker.n_runs) {
            eprintln!("{} runs of worker {id} go on", worker.n_runs);
            told = Some(worker.n_runs);
        }
        tokio::select! {
            () = &mut enough => return Err(given_up()),
            () = tokio::time::sleep(LOOKS) => {}
        }
    }
}

/// The worker of this id, or the only one of this name.
fn find<'a>(workers: &'a [Worker], named: &str) -> Result<&'a Worker, Fault> {
    if let Some(worker) = workers.iter().find(|worker| worker.id == named) {
        return Ok(worker);
    }
    let of_name: Vec<_> = workers.iter().filter(|worker| worker.name == named).collect();
    let shown = printable(named);
    match of_name[..] {
        [worker] => Ok(worker),
        [] => {
            let known = workers.iter().flat_map(|worker| [worker.name.as_str(), worker.id.as_str()]);
            let mend = match nearest(named, known) {
                Some(near) => format!("did you mean `{}`?", printable(near)),
                None => "`tidegate worker ls` shows those that are there".to_owned(),
            };
            Err(Fault::missing(format!("no worker has the id or the name `{shown}`: {mend}")))
        }
        _ => {
            let ids: Vec<_> = of_name.iter().map(|worker| printable(&worker.id)).collect();
            let n_workers = of_name.len();
            Err(Fault::usage(format!(
                "{n_workers} workers have the name `{shown}`: give one of {}",
                ids.join(", ")
            )))
        }
    }
}

/// The command with the defaults of `worker start` as a profile has them. The options of a worker are those of its own
/// program, which knows of no profile; what is said on the line or in the environment goes over a default.
///
/// # Errors
/// The configuration is wrong, or has no such profile.
pub fn with_profile(command: clap::Command, line: &[OsString]) -> Result<clap::Command, Fault> {
    let words = || line.iter().skip(1).filter_map(|word| word.to_str().map(str::to_owned));
    if !starts_a_worker(words()) {
        return Ok(command);
    }
    let settings = Settings::of(&completion::typed_options(words()))?;
    // Defaults live as long as the process; these are made once.
    let default = |value: String| -> &'static str { value.leak() };
    let (address, namespace) = (default(settings.address.value), default(settings.namespace.value));
    Ok(with_start(command, |start| {
        let start = start.mut_arg("address", |arg| arg.default_value(address));
        start.mut_arg("namespace", |arg| arg.default_value(namespace))
    }))
}

/// Whether the line begins with `worker start`, but for options that all commands have.
fn starts_a_worker(mut words: impl Iterator<Item = String>) -> bool {
    let mut commands = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--address" | "--namespace" | "--profile" | "--output" | "--color" | "-o" => drop(words.next()),
            option if option.starts_with('-') => {}
            _ => commands.push(word),
        }
        if commands.len() == 2 {
            break;
        }
    }
    commands == ["worker", "start"]
}

/// The command with the names that a shell is offered for `worker start`, whose options know of none.
pub fn with_names(command: clap::Command) -> clap::Command {
    with_start(command, |start| {
        let start = start.mut_arg("pool", |arg| arg.add(named(names::pools)));
        start.mut_arg("queues", |arg| arg.add(named(names::queues)))
    })
}

fn with_start(command: clap::Command, change: impl FnOnce(clap::Command) -> clap::Command) -> clap::Command {
    command.mut_subcommand("worker", |worker| worker.mut_subcommand("start", change))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};

    #[test]
    fn a_worker_is_found_by_its_id_or_a_name_that_it_alone_has() {
        let worker = |id: &str, name: &str| Worker { id: id.into(), name: name.into(), ..Worker::default() };
        let workers = [worker("a:1", "day"), worker("b:2", "night"), worker("c:3", "night")];
        let found = |named: &str| find(&workers, named).map(|worker| worker.id.as_str());
        assert_eq!(found("c:3").expect("is there"), "c:3");
        assert_eq!(found("day").expect("is there"), "a:1");
        let several = found("night").expect_err("is not clear").to_string();
        assert!(several.contains("b:2, c:3"), "{several}");
        assert!(found("dusk").expect_err("is not there").to_string().contains("worker ls"));
        assert!(found("dax").expect_err("is not there").to_string().contains("did you mean `day`?"));
    }

    #[test]
    fn options_of_all_commands_may_stand_before_those_of_a_worker() {
        let is_start = |line: &str| starts_a_worker(line.split(' ').map(str::to_owned));
        assert!(is_start("worker start --pool site") && is_start("worker --profile prod start --pool site"));
        assert!(is_start("worker --address=http://a:1 start") && !is_start("worker --profile start ls"));
        let parsed = Cli::try_parse_from("tidegate worker --address http://a:1 start --pool site".split(' '));
        let Command::Worker(args) = parsed.expect("is right").command else { panic!("it is the noun") };
        let WorkerCommand::Start(start) = args.command else { panic!("it starts one") };
        assert_eq!(
            (start.options.address.as_str(), start.options.namespace.as_str()),
            ("http://a:1", "default")
        );
        let parsed = Cli::try_parse_from("tidegate worker --address http://a:1 ls --live".split(' '));
        let Command::Worker(args) = parsed.expect("is right").command else { panic!("it is the noun") };
        assert_eq!(args.common.address.as_deref(), Some("http://a:1"));
    }
}
