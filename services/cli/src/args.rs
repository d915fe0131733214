use clap::{Parser, Subcommand};

use crate::{
    artifact::ArtifactArgs, automation::AutomationArgs, bulk::BulkArgs, completion::CompletionArgs,
    concurrency::ConcurrencyArgs, config::ConfigArgs, demo::worker::DemoWorkerArgs, deploy::DeployArgs,
    deployment::DeploymentArgs, dev::DevArgs, doctor::DoctorArgs, man::ManArgs, pool::PoolArgs,
    queue::QueueArgs, run::RunArgs, schedule::ScheduleArgs, server::ServerArgs, variable::VariableArgs,
    worker::WorkerArgs,
};

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
    /// List, show, make, change, pause and delete schedules, tell their next times, and make up for past ones
    Schedule(ScheduleArgs),
    /// List and show what runs have to show: texts, tables, links, images, progress
    Artifact(ArtifactArgs),
    /// List, set, show and delete named values that runs share
    Variable(VariableArgs),
    /// List, set, show, pause, resume and delete what the server does when something happens to a run
    Automation(AutomationArgs),
    /// List, show and stop what is done to many runs at once
    Bulk(BulkArgs),
    /// Take runs of a work pool, and start each as a job; list, show and drain workers
    Worker(WorkerArgs),
    /// Show where a server is looked for and how answers look, and set it by profiles
    Config(ConfigArgs),
    /// Check the way to the server, its parts, versions and clock, and name the mend
    Doctor(DoctorArgs),
    /// Print the script by which a shell completes commands, options and names of things
    Completion(CompletionArgs),
    /// Write a man page for each command
    Man(ManArgs),
    /// Start all of Tidegate in this process: one port, nothing to install
    Dev(DevArgs),
    /// Start one service
    Server(ServerArgs),
    /// A worker of the demo (started by `dev --demo`)
    #[command(hide = true)]
    DemoWorker(DemoWorkerArgs),
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _, Parser as _};

    use super::Cli;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_noun_tells_its_exit_codes() {
        for noun in Cli::command().get_subcommands().filter(|noun| !noun.is_hide_set()) {
            let help = noun.clone().render_help().to_string();
            assert!(help.contains("Exit codes: 0 "), "{}: {help}", noun.get_name());
        }
    }

    /// Options that all commands have which ask a server; they are shown once.
    const OF_ALL: [&str; 5] = ["address", "namespace", "profile", "output", "color"];

    /// The help of a command and of those below it; what the environment says meanwhile is not in it.
    fn help(command: &Command, shows_common: bool) -> String {
        let plain = command.clone().mut_args(|arg| {
            let is_hidden = !shows_common && OF_ALL.contains(&arg.get_id().as_str());
            let is_hidden = arg.is_hide_set() || is_hidden;
            arg.hide_env_values(true).hide(is_hidden)
        });
        let below = command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
        let of_command = plain.term_width(100).render_help().to_string();
        std::iter::once(of_command)
            .chain(below.map(|sub| help(sub, shows_common)))
            .collect::<Vec<_>>()
            .join("\n---\n")
    }

    #[test]
    fn the_help_of_each_command_is_as_it_was() {
        let mut root = Cli::command().term_width(100);
        root.build();
        let is_told = |noun: &&Command| !noun.is_hide_set() && noun.get_name() != "help";
        for noun in root.get_subcommands().filter(is_told) {
            let name = noun.get_name();
            insta::assert_snapshot!(format!("help_of_{name}"), help(noun, name == "doctor"));
        }
    }

    #[test]
    fn what_is_mistyped_is_met_by_what_is_like_it() {
        for (args, meant) in [
            (&["tidegate", "deploymnt", "ls"][..], "'deployment'"),
            (&["tidegate", "run", "lst"][..], "'ls'"),
            (&["tidegate", "run", "ls", "--fliter", "x"][..], "'--filter'"),
            (&["tidegate", "run", "ls", "-o", "jsn"][..], "'json'"),
        ] {
            let error = Cli::try_parse_from(args).expect_err("is mistyped").to_string();
            assert!(error.contains(meant), "{args:?}: {error}");
        }
    }
}
