//! `tidegate pool …`: work pools, and what goes on in them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    slice,
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tidegate_proto::v1::{WorkPoolSpec, WorkPoolType};
use tidegate_sdk_core::Client;

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch},
    completion::named,
    fault::Fault,
    names,
    output::{pool_detail, pool_detail_json, pool_json, pool_table},
    printer::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such work pool; 69 no server answers."
)]
pub struct PoolArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: PoolCommand,
}

#[derive(Subcommand, Debug)]
pub enum PoolCommand {
    /// List work pools
    Ls(Listed),
    /// Show one work pool: how much waits and is held, and how many workers it has
    Get {
        /// The pool's name
        #[arg(add = named(names::pools))]
        name: String,
        #[command(flatten)]
        watch: Watch,
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
        #[arg(add = named(names::pools))]
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
        #[arg(add = named(names::pools))]
        name: String,
        /// Why, for those who ask what a run waits for
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Have the runs of a work pool start again
    Resume {
        /// The pool's name
        #[arg(add = named(names::pools))]
        name: String,
    },
    /// Take a work pool away that no deployment names
    Delete {
        /// The pool's name
        #[arg(add = named(names::pools))]
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
    #[arg(long = "queue", value_name = "QUEUE", add = named(names::queues))]
    pub queues: Vec<String>,
    /// How many runs it may hold at once
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub slots: Option<u32>,
    /// Job variables of all its runs: a JSON object
    #[arg(long, value_name = "JSON")]
    pub job_variables: Option<String>,
    /// A file with a JSON Schema of the job variables. Default: that of the type
    #[arg(long, value_name = "FILE")]
    pub job_variable_schema: Option<PathBuf>,
    /// A file with how a job is described to what starts it: a JSON object with `{{ variable }}` in it
    #[arg(long, value_name = "FILE")]
    pub job_template: Option<PathBuf>,
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

/// Does what the arguments say.
pub fn main(args: PoolArgs) -> ExitCode {
    ask(&args.common, async |client, printer| {
        let pool = match args.command {
            PoolCommand::Ls(listed) => return ls(client, printer, &listed).await,
            PoolCommand::Get { name, watch } => return get(client, printer, &name, watch).await,
            PoolCommand::Create { name, r#type, update_if_exists, spec } => {
                let (mut spec, _) = told(spec)?;
                spec.set_type(type_of(r#type));
                client.create_work_pool(&name, spec, update_if_exists).await?.0
            }
            PoolCommand::Update { name, no_limit, spec } => {
                let (spec, mut paths) = told(spec)?;
                if no_limit {
                    paths.push("max_slots".to_owned());
                }
                client.update_work_pool(&name, spec, paths).await?
            }
            PoolCommand::Pause { name, reason } => client.pause_work_pool(&name, &reason).await?,
            PoolCommand::Resume { name } => client.resume_work_pool(&name).await?,
            PoolCommand::Delete { name, allow_missing } => {
                client.delete_work_pool(&name, allow_missing).await?;
                return printer.answer(|| json!({ "deleted": name }), || format!("{name}  deleted\n"));
            }
        };
        printer.answer(|| pool_json(&pool), || pool_table(slice::from_ref(&pool)))
    })
}

async fn ls(client: &Client, printer: &Printer, listed: &Listed) -> Outcome {
    let look = async || {
        let pools = client.find_work_pools(&listed.filter).await?;
        Ok(printer.render(|| pools.iter().map(pool_json).collect(), || pool_table(&pools)))
    };
    printer.show(listed.watch, look).await
}

async fn get(client: &Client, printer: &Printer, name: &str, watch: Watch) -> Outcome {
    let look = async || {
        let found = client.get_work_pool(name).await?;
        Ok(printer.render(|| pool_detail_json(&found), || pool_detail(&found)))
    };
    printer.show(watch, look).await
}

/// What is said, and the fields that it is said of.
fn told(args: PoolSpecArgs) -> Result<(WorkPoolSpec, Vec<String>), Fault> {
    let file = |option: &str, path: Option<&Path>| {
        let read = |path: &Path| {
            std::fs::read_to_string(path).map_err(|error| {
                Fault::usage(format!("{option} {}: {error}: give a file with JSON", path.display()))
            })
        };
        path.map(read).transpose()
    };
    let schema = file("--job-variable-schema", args.job_variable_schema.as_deref())?;
    let template = file("--job-template", args.job_template.as_deref())?;
    let fields = [
        ("description", args.description.is_some()),
        ("queues", !args.queues.is_empty()),
        ("max_slots", args.slots.is_some()),
        ("job_variables", args.job_variables.is_some()),
        ("job_variable_schema", schema.is_some()),
        ("job_template", template.is_some()),
    ];
    let paths =
        fields.into_iter().filter(|(_, is_said)| *is_said).map(|(field, _)| field.to_owned()).collect();
    let spec = WorkPoolSpec {
        description: args.description.unwrap_or_default(),
        queues: args.queues,
        max_slots: args.slots,
        job_variables: args.job_variables.unwrap_or_default(),
        job_variable_schema: schema.unwrap_or_default(),
        job_template: template.unwrap_or_default(),
        ..WorkPoolSpec::default()
    };
    Ok((spec, paths))
}

const fn type_of(pool: PoolType) -> WorkPoolType {
    match pool {
        PoolType::Process => WorkPoolType::Process,
        PoolType::Docker => WorkPoolType::Docker,
        PoolType::Kubernetes => WorkPoolType::Kubernetes,
    }
}
