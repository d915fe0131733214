//! `tidegate deploy`: brings deployments and their schedules to what a `tidegate.toml` says.
//!
//! The file is read and checked as a whole, by the checks of the server itself, before anything is changed; then it is
//! compared with what is there, and only what differs is changed. No code of users is read or started.

mod fields;
mod file;
mod plan;
mod reader;
mod schedule;
mod source;
mod spec;
mod view;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use tidegate_sdk_core::{
    Client,
    proto::{CreateDeploymentRequest, Deployment, Schedule},
};

use crate::{
    ask::{Outcome, ask, code},
    common::Common,
    completion,
    fault::{Fault, exit},
    names::nearest,
    printer::{Printer, print},
};

pub use fields::{Fields, of_schedule, of_source};
use plan::{Change, Plan};
use source::{Faults, Source};
use spec::Wanted;

/// The name of the file in a directory.
const FILE: &str = "tidegate.toml";
/// Bytes of a file.
const MAX_FILE_SIZE: usize = 1 << 20;
/// A file with all keys, to begin with.
const TEMPLATE: &str = include_str!("template.toml");

#[derive(Args, Debug)]
#[command(
    after_help = "The file is checked as a whole before anything is changed. Deploying it again changes nothing, \
                        and makes no version. Runs that exist are not touched, overdue ones neither; nor is the pause \
                        of a schedule.\n\
                        Exit codes: 0 done; 1 error; 2 wrong usage, or the file is wrong; 3 no such work pool; \
                        5 `--exit-code`: there are differences; 69 no server answers."
)]
pub struct DeployArgs {
    #[command(flatten)]
    pub common: Common,
    /// The file, or a directory with a `tidegate.toml`
    #[arg(value_name = "FILE|DIR", default_value = ".")]
    pub path: PathBuf,
    /// Only these deployments of the file: `flow/deployment`; without any, all
    #[arg(value_name = "NAME", add = completion::deployments_of_file())]
    pub names: Vec<String>,
    /// Show what is new, changed and unchanged, field by field, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With `--dry-run`: end with 5 where there are differences
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Delete the schedules of these deployments that the file does not name; without it they are left as they are
    #[arg(long)]
    pub prune_schedules: bool,
    /// Print a commented file to begin with, and do nothing else
    #[arg(long)]
    pub template: bool,
}

/// Does what the arguments say.
pub fn main(args: DeployArgs) -> ExitCode {
    if args.template {
        return code(print(TEMPLATE));
    }
    // The file is read first: what is wrong with it is told with or without a server.
    match read(&args) {
        Ok((source, wanted)) => {
            ask(&args.common, async |client, printer| deploy(client, printer, &args, &source, wanted).await)
        }
        Err(fault) => fault.report(),
    }
}

fn read(args: &DeployArgs) -> Result<(Source, Vec<Wanted>), Fault> {
    let (source, folder) = find(&args.path)?;
    let wanted = select(file::read(&source, &folder).map_err(Fault::usage)?, &args.names, &source)?;
    Ok((source, wanted))
}

async fn deploy(
    client: &Client,
    printer: &Printer,
    args: &DeployArgs,
    source: &Source,
    wanted: Vec<Wanted>,
) -> Outcome {
    check_pools(client, source, &wanted).await?;
    let plans = compare(client, wanted, args.prune_schedules).await?;
    check(client, &plans).await?;
    let mut warnings = Vec::new();
    if !args.dry_run {
        for (n_done, plan) in plans.iter().enumerate() {
            if let Err(fault) = apply(client, plan, &mut warnings).await {
                show(&warnings);
                return Err(fault.of(&broken_off(&plan.wanted.name, n_done, plans.len())));
            }
        }
    }
    printer.answer(|| view::json(&plans, &warnings, args.dry_run), || view::text(&plans, args.dry_run))?;
    if printer.is_table() {
        show(&warnings);
    }
    let differs = args.exit_code && plans.iter().any(Plan::changes);
    Ok(if differs { exit::DIFFERENT } else { exit::OK })
}

/// Warnings for people.
fn show(warnings: &[String]) {
    for warning in warnings {
        eprintln!("tidegate: {}", crate::output::printable(warning));
    }
}

/// What a failure is about: which deployment, and what became of the others.
fn broken_off(name: &str, n_done: usize, n_all: usize) -> String {
    let rest = match n_all - n_done - 1 {
        0 => String::new(),
        n_left => format!(", {n_left} behind it are not deployed"),
    };
    let done = if n_done == 0 { String::new() } else { format!(", {n_done} before it are deployed") };
    format!("deployment `{name}`{done}{rest}")
}

/// What is there, beside what the file says. Schedules are asked for where the file has some, or some may have to go.
async fn compare(client: &Client, wanted: Vec<Wanted>, prunes: bool) -> Result<Vec<Plan>, Fault> {
    let mut plans = Vec::new();
    for wanted in wanted {
        let deployment: Option<Deployment> = match client.get_deployment(&wanted.name).await {
            Ok(deployment) => Some(deployment),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let schedules: Vec<Schedule> = if deployment.is_some() && (prunes || !wanted.schedules.is_empty()) {
            client.schedules(&wanted.name).await?
        } else {
            Vec::new()
        };
        plans.push(Plan::new(wanted, deployment.as_ref(), &schedules, prunes));
    }
    Ok(plans)
}

/// What the server alone can tell to be wrong, such as job variables that do not fit a pool: nothing is changed by it.
async fn check(client: &Client, plans: &[Plan]) -> Result<(), Fault> {
    for Plan { wanted, .. } in plans.iter().filter(|plan| plan.changes()) {
        let checked = client.check_deployment(&wanted.name, &wanted.spec, &wanted.schedules).await;
        let subject = format!("deployment `{}`, and nothing was changed", wanted.name);
        checked.map_err(|error| Fault::from(error).of(&subject))?;
    }
    Ok(())
}

/// Makes a deployment what the file says, where it and its schedules are still as they were compared.
async fn apply(client: &Client, plan: &Plan, warnings: &mut Vec<String>) -> Result<(), Fault> {
    let name = &plan.wanted.name;
    // Before the deployment is changed, as far as that can be seen; what comes after this is seen by each write.
    if plan.changes()
        && !plan.schedules.is_empty()
        && let Some(schedule) = plan.changed_meanwhile(&client.schedules(name).await?)
    {
        return Err(changed(schedule, "nothing of this deployment was changed"));
    }
    if plan.change != Change::Unchanged {
        let request = CreateDeploymentRequest {
            name: name.clone(),
            spec: Some(plan.wanted.spec.clone()),
            update_if_exists: plan.change == Change::Changed,
            etag: plan.etag.clone(),
            ..Default::default()
        };
        let deployed = client.deploy(request).await.map_err(|error| match error.reason() {
            "ETAG_MISMATCH" | "DEPLOYMENT_EXISTS" | "DEPLOYMENT_NOT_FOUND" => Fault::stopped(
                "somebody else has changed it since it was compared, and that stays: run `tidegate deploy` again",
            ),
            _ => error.into(),
        })?;
        warnings.extend(deployed.warnings.into_iter().map(|warning| format!("{name}: {warning}")));
    }
    for write in plan.writes() {
        let schedule = write.name().to_owned();
        client.write_schedule(name, write).await.map_err(|error| match error.reason() {
            "ETAG_MISMATCH" | "SCHEDULE_EXISTS" | "SCHEDULE_NOT_FOUND" => {
                changed(&schedule, "what comes before it was done")
            }
            _ => error.into(),
        })?;
    }
    Ok(())
}

/// The fault where a schedule is not as it was compared any more.
fn changed(schedule: &str, rest: &str) -> Fault {
    Fault::stopped(format!(
        "somebody else has changed its schedule `{schedule}` since it was compared, and that stays; {rest}: run `tidegate \
         deploy` again"
    ))
}

/// The pools that the file names must be there, before anything is changed.
async fn check_pools(client: &Client, source: &Source, wanted: &[Wanted]) -> Result<(), Fault> {
    let mut pools = BTreeMap::new();
    for deployment in wanted.iter().filter(|deployment| !deployment.spec.work_pool.is_empty()) {
        pools.entry(&deployment.spec.work_pool).or_insert(&deployment.work_pool_at);
    }
    let faults = Faults::default();
    for (pool, at) in pools {
        match client.get_work_pool(pool).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => faults.add((*at).clone(), error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Fault::missing(source.describe(&faults))) }
}

/// The deployments that were asked for.
fn select(wanted: Vec<Wanted>, names: &[String], source: &Source) -> Result<Vec<Wanted>, Fault> {
    let known: Vec<&str> = wanted.iter().map(|deployment| deployment.name.as_str()).collect();
    for name in names {
        if known.contains(&name.as_str()) {
            continue;
        }
        let mend = match nearest(name, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", known.join(", ")),
        };
        return Err(Fault::usage(format!("{} has no deployment `{name}`: {mend}", source.name)));
    }
    let is_asked = |deployment: &Wanted| names.is_empty() || names.contains(&deployment.name);
    Ok(wanted.into_iter().filter(is_asked).collect())
}

/// The deployments that a file has, where it is right.
pub fn names_in(path: &Path) -> Vec<String> {
    let read = find(path).ok().and_then(|(source, folder)| file::read(&source, &folder).ok());
    read.unwrap_or_default().into_iter().map(|wanted| wanted.name).collect()
}

/// The file with its directory.
fn find(path: &Path) -> Result<(Source, PathBuf), Fault> {
    let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
    let name = file.strip_prefix(".").unwrap_or(&file).display().to_string();
    let text = read_text(&file, MAX_FILE_SIZE).map_err(|error| {
        let mend = if path.is_dir() {
            format!("`tidegate deploy --template > {FILE}` makes one to begin with")
        } else {
            "the file or its directory comes first, then names: `tidegate deploy . etl/nightly`".to_owned()
        };
        Fault::usage(format!("{name} {error}; {mend}"))
    })?;
    let folder = file.parent().map(Path::to_owned).unwrap_or_default();
    Ok((Source { name, text }, folder))
}

/// The text of a file that is no larger than it may be.
fn read_text(path: &Path, most: usize) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    // One byte more tells that it is too large, however large it is.
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > most {
        return Err(format!("has more than {most} bytes, the most that are allowed"));
    }
    String::from_utf8(bytes).map_err(|_| "is no text in UTF-8".to_owned())
}
