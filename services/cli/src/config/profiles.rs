//! `tidegate config set|unset|profiles`: what the file says.

use clap::Subcommand;
use serde_json::{Value, json};

use super::{
    edit::{Change, KEYS, change},
    file::{DEFAULT_PROFILE, Source},
    settings::{Settings, no_profile},
};
use crate::{
    ask::{DONE, Outcome},
    common::Common,
    completion,
    fault::Fault,
    output::Table,
    printer::Printer,
};

#[derive(Subcommand, Debug)]
pub enum ProfilesCommand {
    /// List the profiles; the one that is used has a star
    Ls,
    /// Make a profile that says nothing yet
    Create {
        /// Its name: characters of A-Z a-z 0-9 _ -
        name: String,
    },
    /// Have a profile say what nobody else says, from now on
    Use {
        /// Its name
        #[arg(add = completion::profiles())]
        name: String,
    },
    /// Take a profile away
    Delete {
        /// Its name
        #[arg(add = completion::profiles())]
        name: String,
    },
}

/// `config set`: in the profile that is used.
pub fn set(common: &Common, key: &str, value: &str) -> Outcome {
    let source = Source::read()?;
    let profile = used(&source, common)?;
    change(&source, Change::Set { profile: &profile, key, value })?;
    DONE
}

/// `config unset`: in the profile that is used.
pub fn unset(common: &Common, key: &str) -> Outcome {
    let source = Source::read()?;
    let profile = used(&source, common)?;
    if source.file.profiles.contains_key(&profile) {
        change(&source, Change::Unset { profile: &profile, key })?;
    }
    DONE
}

/// The keys that can be set.
pub fn keys() -> clap::builder::PossibleValuesParser {
    KEYS.into()
}

fn used(source: &Source, common: &Common) -> Result<String, Fault> {
    let profile = Settings::over(source, common)?.profile.value;
    check_name(&profile)?;
    Ok(profile)
}

/// `config profiles …`.
pub fn profiles(common: &Common, command: ProfilesCommand) -> Outcome {
    let source = Source::read()?;
    let is_there = |name: &str| source.file.profiles.contains_key(name);
    match &command {
        ProfilesCommand::Ls => return ls(&source, common),
        ProfilesCommand::Create { name } => {
            check_name(name)?;
            if is_there(name) {
                return Err(Fault::stopped(format!(
                    "there is a profile `{name}` in {}",
                    source.path.display()
                )));
            }
            change(&source, Change::Create { profile: name })?;
        }
        ProfilesCommand::Use { name } if is_there(name) || name == DEFAULT_PROFILE => {
            change(&source, Change::Use { profile: name })?;
        }
        ProfilesCommand::Delete { name } if is_there(name) => {
            if source.file.profile.as_ref().is_some_and(|used| used.get_ref() == name) {
                return Err(Fault::stopped(format!(
                    "profile `{name}` is the one that is used: `tidegate config profiles use {DEFAULT_PROFILE}` first"
                )));
            }
            change(&source, Change::Delete { profile: name })?;
        }
        ProfilesCommand::Use { name } | ProfilesCommand::Delete { name } => {
            return Err(no_profile(&source, name));
        }
    }
    DONE
}

fn ls(source: &Source, common: &Common) -> Outcome {
    let settings = Settings::over(source, common)?;
    let printer = Printer::new(settings.output.value, settings.color.value);
    let rows: Vec<(&String, bool, [String; 2])> = source
        .file
        .profiles
        .iter()
        .map(|(name, said)| {
            let address = said.address.as_ref().map(|address| address.get_ref().0.clone());
            let namespace = said.namespace.as_ref().map(|namespace| namespace.get_ref().clone());
            (name, *name == settings.profile.value, [address, namespace].map(Option::unwrap_or_default))
        })
        .collect();
    let value = || {
        let told = |(name, is_used, [address, namespace]): &(&String, bool, [String; 2])| json!({ "name": name, "used": is_used, "address": address, "namespace": namespace });
        Value::Array(rows.iter().map(told).collect())
    };
    let text = || {
        let mut table = Table::new(&["", "NAME", "ADDRESS", "NAMESPACE"]);
        for (name, is_used, [address, namespace]) in &rows {
            let star = if *is_used { "*" } else { "" };
            table.row(vec![star.to_owned(), (*name).clone(), address.clone(), namespace.clone()]);
        }
        table.text()
    };
    printer.answer(value, text)
}

/// A name that can stand in the file as it is.
fn check_name(name: &str) -> Result<(), Fault> {
    let is_right =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_right {
        return Ok(());
    }
    Err(Fault::usage(format!("`{name}` is no name of a profile: characters of A-Z a-z 0-9 _ - are")))
}
