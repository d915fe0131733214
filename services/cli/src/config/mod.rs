//! `tidegate config …`: what is asked where nobody says otherwise. Profiles in a file, the environment over them,
//! options over both.

mod edit;
mod file;
mod profiles;
mod settings;
mod view;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::{ask::code, common::Common};

use file::Source;
use profiles::ProfilesCommand;
pub use settings::Settings;

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "The file is TIDEGATE_CONFIG, or tidegate/config.toml in XDG_CONFIG_HOME (~/.config).\n\
                  An option goes over the environment, that over the profile, and that over the default.\n\
                  Exit codes: 0 done; 1 error; 2 wrong usage, or a file that is not right; 3 no such profile."
)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Show what holds for a command that says nothing
    View {
        /// Tell of each value where it comes from
        #[arg(long)]
        sources: bool,
    },
    /// Have the profile that is used say something
    Set {
        /// What
        #[arg(value_parser = profiles::keys())]
        key: String,
        /// As options have it
        value: String,
    },
    /// Have the profile that is used say nothing of something
    Unset {
        /// Of what
        #[arg(value_parser = profiles::keys())]
        key: String,
    },
    /// List, make, use and delete profiles
    #[command(subcommand)]
    Profiles(ProfilesCommand),
}

/// The profiles that there are.
pub fn profile_names() -> Vec<String> {
    Source::read().map(|source| source.file.profiles.into_keys().collect()).unwrap_or_default()
}

/// Does what the arguments say.
pub fn main(args: ConfigArgs) -> ExitCode {
    code(match args.command {
        ConfigCommand::View { sources } => view::view(&args.common, sources),
        ConfigCommand::Set { key, value } => profiles::set(&args.common, &key, &value),
        ConfigCommand::Unset { key } => profiles::unset(&args.common, &key),
        ConfigCommand::Profiles(command) => profiles::profiles(&args.common, command),
    })
}
