//! `tidegate completion SHELL`, and the names that a shell is offered while somebody types.
//!
//! The script that a shell reads calls `tidegate` with the words so far, and `COMPLETE` in the environment. What is offered
//! comes from the arguments themselves, and names of things from the server: shortly, or not at all.

use std::{
    ffi::{OsStr, OsString},
    io::Write as _,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::{
    CompleteEnv,
    engine::{ArgValueCompleter, CompletionCandidate},
    env::Shells,
};
use tidegate_sdk_core::{
    Client, Error, Options,
    proto::{ListArtifactsRequest, ListRunsRequest},
};

use crate::{
    args::Cli,
    ask::{DONE, code},
    common::Common,
    config::Settings,
    fault::exit,
    output::{printable, state_text},
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
    match CompleteEnv::with_factory(Cli::command).var(ASKS).try_complete(args, None) {
        Ok(true) => Some(ExitCode::from(exit::OK)),
        Ok(false) => None,
        Err(error) => {
            // The pipe may be closed, which is nobody's fault.
            let _ = error.print();
            Some(ExitCode::from(exit::USAGE))
        }
    }
}

/// Runs by their ids, the newest first, each with its name and state.
pub fn runs() -> ArgValueCompleter {
    offered(async |client| {
        let request = ListRunsRequest { page_size: 100, ..Default::default() };
        let runs = client.list_runs(request).await?.runs;
        let told = |run: &tidegate_sdk_core::proto::Run| {
            format!("{}  {}", printable(&run.name), state_text(run.state.as_ref()))
        };
        Ok(runs.iter().map(|run| (run.id.clone(), told(run))).collect())
    })
}

/// Deployments, as `flow/deployment`.
pub fn deployments() -> ArgValueCompleter {
    offered(async |client| {
        Ok(client.deployments("").await?.into_iter().map(|it| (it.name, String::new())).collect())
    })
}

/// Queues.
pub fn queues() -> ArgValueCompleter {
    offered(async |client| {
        Ok(client.queues().await?.into_iter().map(|it| (it.name, String::new())).collect())
    })
}

/// Work pools.
pub fn pools() -> ArgValueCompleter {
    offered(async |client| {
        Ok(client
            .work_pools()
            .await?
            .into_iter()
            .map(|it| (it.name, it.spec.unwrap_or_default().description))
            .collect())
    })
}

/// Live workers by their ids, each with its pool.
pub fn workers() -> ArgValueCompleter {
    offered(async |client| {
        let workers = client.workers("").await?.into_iter().filter(|it| it.is_live);
        Ok(workers.map(|it| (it.id, it.work_pool)).collect())
    })
}

/// Concurrency limits.
pub fn limits() -> ArgValueCompleter {
    offered(async |client| {
        Ok(client.concurrency_limits().await?.into_iter().map(|it| (it.name, String::new())).collect())
    })
}

/// Variables, each with its description.
pub fn variables() -> ArgValueCompleter {
    offered(async |client| {
        Ok(client.variables("", "").await?.into_iter().map(|it| (it.name, it.description)).collect())
    })
}

/// Artifacts by their keys, or by their ids where they have none.
pub fn artifacts() -> ArgValueCompleter {
    offered(async |client| {
        let request = ListArtifactsRequest { latest: true, ..Default::default() };
        let artifacts = client.artifacts(request, MAX_OFFERED).await?;
        let name = |it: tidegate_sdk_core::proto::Artifact| if it.key.is_empty() { it.id } else { it.key };
        Ok(artifacts.into_iter().map(|it| (name(it), String::new())).collect())
    })
}

/// Bulk operations by their ids.
pub fn bulk_operations() -> ArgValueCompleter {
    offered(async |client| {
        Ok(client.bulk_operations(MAX_OFFERED).await?.into_iter().map(|it| (it.id, String::new())).collect())
    })
}

/// Names and what is said of them, of those that `list` knows and that begin with what is typed.
fn offered<L>(list: L) -> ArgValueCompleter
where
    L: AsyncFn(&Client) -> Result<Vec<(String, String)>, Error> + Send + Sync + 'static,
{
    ArgValueCompleter::new(move |typed: &OsStr| {
        let Some(typed) = typed.to_str() else { return Vec::new() };
        // bash puts a name into the line as it is: what it would split, expand or execute there is not offered.
        let is_bash = std::env::var_os("COMPLETE").is_some_and(|shell| shell == "bash");
        let names = fetch(&list).unwrap_or_default().into_iter();
        names
            .filter(|(name, _)| name.starts_with(typed) && !name.chars().any(char::is_control))
            .filter(|(name, _)| !is_bash || is_plain_word(name))
            .take(MAX_OFFERED)
            .map(|(name, told)| {
                let told = Some(printable(&told).into()).filter(|_| !told.is_empty());
                CompletionCandidate::new(name).help(told)
            })
            .collect()
    })
}

/// Whether bash takes it for one word that says just this.
fn is_plain_word(name: &str) -> bool {
    name.chars().all(|c| c.is_alphanumeric() || "._/:=@+,-".contains(c))
}

/// What a server says in time. What goes wrong is not told: it would stand in the line that is typed.
fn fetch(
    list: &impl AsyncFn(&Client) -> Result<Vec<(String, String)>, Error>,
) -> Option<Vec<(String, String)>> {
    let settings =
        Settings::of(&typed_options(std::env::args_os().filter_map(|word| word.into_string().ok()))).ok()?;
    let client = Client::new(Options::new(&settings.address.value, &settings.namespace.value).ok()?).ok()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    runtime.block_on(async { tokio::time::timeout(PATIENCE, list(&client)).await.ok()?.ok() })
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
