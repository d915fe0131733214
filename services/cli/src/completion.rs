//! `tidegate completion SHELL`, and the names that a shell is offered while somebody types.
//!
//! The script that a shell reads calls `tidegate` with the words so far, and `COMPLETE` in the environment. What is offered
//! comes from the arguments themselves, and names of things from the server: shortly, or not at all.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use tidegate_sdk_core::{Client, Error, Options};

use crate::{
    args::Cli,
    ask::{DONE, code},
    common::Common,
    config::{self, Settings},
    deploy,
    fault::exit,
    names::{self, Names},
    output::printable,
    worker,
};

/// How long a shell may wait for names. Whoever types goes on meanwhile, and a hint that comes late is none.
const PATIENCE: Duration = Duration::from_millis(700);
/// How many names are offered.
const MAX_OFFERED: usize = 100;
/// The variable by which a shell asks.
const ASKS: &str = "COMPLETE";

#[derive(Args, Debug)]
#[command(after_help = "bash: `source <(tidegate completion bash)` in ~/.bashrc\n\
                  zsh:  `source <(tidegate completion zsh)` in ~/.zshrc, after `compinit`\n\
                  fish: `tidegate completion fish | source` in ~/.config/fish/config.fish\n\
                  Exit codes: 0 done; 1 error; 2 wrong usage.")]
pub struct CompletionArgs {
    /// Which one
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// From 4.4 on
    Bash,
    /// With its completion system
    Zsh,
    /// From 3 on
    Fish,
}

/// Prints the script for a shell.
pub fn main(args: CompletionArgs) -> ExitCode {
    let name = args.shell.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells.completer(&name).expect("the shells that are offered are those that are known");
    let written = shell.write_registration(ASKS, "tidegate", "tidegate", "tidegate", &mut script);
    code(written.and_then(|()| std::io::stdout().write_all(&script)).map_err(Into::into).and(DONE))
}

/// Answers a shell, where one asks: `None` where this is a command like any other.
pub fn answer(args: &[OsString]) -> Option<ExitCode> {
    match CompleteEnv::with_factory(|| worker::with_names(Cli::command())).var(ASKS).try_complete(args, None)
    {
        Ok(true) => Some(ExitCode::from(exit::OK)),
        Ok(false) => None,
        Err(error) => {
            // The pipe may be closed, which is nobody's fault.
            let _ = error.print();
            Some(ExitCode::from(exit::USAGE))
        }
    }
}

/// Names of which `list` knows, and that begin with what is typed.
pub fn named<L>(list: L) -> ArgValueCompleter
where
    L: AsyncFn(&Client) -> Result<Names, Error> + Send + Sync + 'static,
{
    ArgValueCompleter::new(move |typed: &OsStr| offered(typed, || fetch(&list).unwrap_or_default()))
}

/// Schedules of the deployment that is typed before.
pub fn schedules() -> ArgValueCompleter {
    named(async |client: &Client| match typed_deployment(typed_words()) {
        Some(deployment) => names::schedules_of(client, &deployment).await,
        None => Ok(Names::new()),
    })
}

/// Profiles of the configuration.
pub fn profiles() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| offered(typed, || without_words(config::profile_names())))
}

/// Deployments of the file that is typed before, or of the one that is here.
pub fn deployments_of_file() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed_path = typed_words().skip(2).map(PathBuf::from).find(|path| path.exists());
        offered(typed, || without_words(deploy::names_in(&typed_path.unwrap_or_else(|| ".".into()))))
    })
}

fn without_words(names: Vec<String>) -> Names {
    names.into_iter().map(|name| (name, String::new())).collect()
}

/// Names and what is said of them, of those that begin with what is typed.
fn offered(typed: &OsStr, names: impl FnOnce() -> Names) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    // bash puts a name into the line as it is: what it would split, expand or execute there is not offered.
    let is_bash = std::env::var_os(ASKS).is_some_and(|shell| shell == "bash");
    names()
        .into_iter()
        .filter(|(name, _)| name.starts_with(typed) && !name.chars().any(char::is_control))
        .filter(|(name, _)| !is_bash || is_plain_word(name))
        .take(MAX_OFFERED)
        .map(|(name, told)| {
            let told = Some(printable(&told).into()).filter(|_| !told.is_empty());
            CompletionCandidate::new(name).help(told)
        })
        .collect()
}

/// Whether bash takes it for one word that says just this.
fn is_plain_word(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || "._/:=@+,-".contains(c))
}

/// What a server says in time. What goes wrong is not told: it would stand in the line that is typed.
fn fetch(list: &impl AsyncFn(&Client) -> Result<Names, Error>) -> Option<Names> {
    let settings = Settings::of(&typed_options(typed_words())).ok()?;
    let client = Client::new(Options::new(&settings.address.value, &settings.namespace.value).ok()?).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, list(&client)).await.ok()?.ok() })
}

/// The line that is typed: it follows a `--` of the script.
fn typed_words() -> impl Iterator<Item = String> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    words.filter_map(|word| word.into_string().ok())
}

/// The deployment of the line: the first word that could be one behind the program's name.
fn typed_deployment(words: impl Iterator<Item = String>) -> Option<String> {
    words.skip(1).find(|word| {
        word.contains('/')
            && !word.contains("://")
            && !word.starts_with(['/', '.', '-'])
            && !word.ends_with('/')
    })
}

/// The options of the line that say which server is meant.
pub fn typed_options(words: impl Iterator<Item = String>) -> Common {
    let mut words = words.peekable();
    let mut common = Common::default();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let place = match option {
            "--address" => &mut common.address,
            "--namespace" => &mut common.namespace,
            "--profile" => &mut common.profile,
            _ => continue,
        };
        let mut value = value.or_else(|| {
            // bash makes a word of its own of the `=`.
            let _ = words.next_if(|word| word == "=");
            words.next()
        });
        // And of each `:`, and of what follows it.
        while let Some(value) = &mut value
            && words.next_if(|word| word == ":").is_some()
        {
            value.push(':');
            value.push_str(&words.next_if(|word| !word.starts_with("--")).unwrap_or_default());
        }
        *place = value;
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_is_offered_no_name_that_it_would_execute() {
        assert!(is_plain_word("etl/nightly") && is_plain_word("größe:1=a"));
        for name in ["x$(id)/a", "a b", "customer=*", "`id`", "a;b", "a'b"] {
            assert!(!is_plain_word(name), "{name}");
        }
    }

    #[test]
    fn the_deployment_of_the_line_is_found_among_its_words() {
        let of = |line: &str| typed_deployment(line.split(' ').map(str::to_owned));
        for line in [
            "target/tidegate schedule get etl/nightly ",
            "tidegate schedule --address http://a:1/x get etl/nightly def",
            "tidegate schedule --address http : //a : 1 pause etl/nightly",
        ] {
            assert_eq!(of(line).as_deref(), Some("etl/nightly"), "{line}");
        }
        assert_eq!(of("target/tidegate schedule get "), None);
    }

    #[test]
    fn the_server_is_the_one_of_the_line_that_is_typed() {
        let of = |line: &str| typed_options(line.split(' ').map(str::to_owned));
        let split = of("tidegate run --address = http : //a : 1 --namespace b : --profile prod get");
        assert_eq!(
            (split.address.as_deref(), split.namespace.as_deref(), split.profile.as_deref()),
            (Some("http://a:1"), Some("b:"), Some("prod"))
        );
        let common = of("tidegate run --address http://a:1 --profile=prod get");
        assert_eq!(
            (common.address.as_deref(), common.profile.as_deref()),
            (Some("http://a:1"), Some("prod"))
        );
        assert_eq!(of("tidegate run --namespace = x get").namespace.as_deref(), Some("x"));
        assert_eq!(of("tidegate run get --address").address, None);
    }
}
