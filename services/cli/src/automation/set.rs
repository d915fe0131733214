//! What an automation is to be: what sets it off, and what is done. Secrets come from files and from the environment.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use prost_types::Duration;
use tidegate_sdk_core::proto::{
    RunTrigger, SetAutomationRequest, StateType, Webhook, set_automation_request::Action,
};

use crate::{common::parse_span, fault::Fault};

/// What is said of it beside its name.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Set off by a run that enters a state of this type; an end counts where it is the run's. May be given several times
    #[arg(
        long = "state",
        value_enum,
        ignore_case = true,
        value_name = "STATE",
        required_unless_present = "state_names"
    )]
    states: Vec<StateWord>,
    /// Also by a state of this name: `Late`, `TimedOut`, `Expired`; may be given several times
    #[arg(long = "state-name", value_name = "NAME")]
    state_names: Vec<String>,
    /// Only by runs for which this holds, as `run ls --filter` has it: `tags:"nightly" AND kind = FLOW`
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// Also by the end of an attempt that is followed by another one
    #[arg(long)]
    each_attempt: bool,
    /// The web server that is told, by a POST of JSON: `https://…`. It is shown to everybody who reaches the server
    #[arg(long, value_name = "URL")]
    webhook: String,
    /// A file with headers that it gets, one a line: `Authorization: Bearer …`
    #[arg(long, value_name = "FILE")]
    header_file: Option<PathBuf>,
    /// A header whose value a variable of the environment has: `Authorization=PAGER_TOKEN`; may be given several times
    #[arg(long, value_name = "NAME=VARIABLE")]
    header_env: Vec<String>,
    /// A header that is no secret, as everybody on this machine sees it in the list of processes: `X-Team: blue`; may be
    /// given several times
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<Unprinted>,
    /// A file with the key of the header `webhook-signature`: `whsec_` and 24 to 64 bytes in base64
    #[arg(long, value_name = "FILE")]
    signing_secret_file: Option<PathBuf>,
    /// How long an answer may take: `1s` to `30s` [default: 10s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    timeout: Option<Duration>,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true)]
    description: String,
    /// Replace one that is there, with its headers and its signing secret
    #[arg(long)]
    overwrite: bool,
    /// Replace one that is there where it is still as `get -o json` has told it
    #[arg(long, default_value = "", hide_default_value = true)]
    etag: String,
}

/// A type of states, as filters name it.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StateWord {
    Scheduled,
    Pending,
    Running,
    Paused,
    Cancelling,
    Completed,
    Failed,
    Crashed,
    Cancelled,
}

impl From<StateWord> for StateType {
    fn from(word: StateWord) -> Self {
        match word {
            StateWord::Scheduled => Self::Scheduled,
            StateWord::Pending => Self::Pending,
            StateWord::Running => Self::Running,
            StateWord::Paused => Self::Paused,
            StateWord::Cancelling => Self::Cancelling,
            StateWord::Completed => Self::Completed,
            StateWord::Failed => Self::Failed,
            StateWord::Crashed => Self::Crashed,
            StateWord::Cancelled => Self::Cancelled,
        }
    }
}

/// A text that may be a secret after all.
#[derive(Clone)]
pub struct Unprinted(String);

impl From<String> for Unprinted {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Unprinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl SetArgs {
    /// What the server is asked for.
    pub fn request(self, name: String) -> Result<SetAutomationRequest, Fault> {
        let headers = self.all_headers(|variable| std::env::var(variable).ok())?;
        let signing_secret = self.signing_secret_file.as_deref().map(signing_secret).transpose()?;
        let states = self.states.into_iter().map(|word| i32::from(StateType::from(word))).collect();
        let (state_names, filter, each_attempt) = (self.state_names, self.filter, self.each_attempt);
        let webhook = Webhook {
            url: self.webhook,
            headers,
            signing_secret: signing_secret.unwrap_or_default(),
            timeout: self.timeout,
        };
        Ok(SetAutomationRequest {
            name,
            description: self.description,
            trigger: Some(RunTrigger { states, state_names, filter, each_attempt }),
            action: Some(Action::Webhook(webhook)),
            overwrite: self.overwrite,
            etag: self.etag,
            ..Default::default()
        })
    }

    /// The headers of all options by their names, of which each is said once. No fault repeats a value.
    fn all_headers(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<BTreeMap<String, String>, Fault> {
        let mut headers: Vec<(String, String)> = Vec::new();
        if let Some(path) = &self.header_file {
            for (idx, line) in read("--header-file", path)?.lines().enumerate() {
                if !line.trim().is_empty() {
                    let place = format!("--header-file {}: line {}", path.display(), idx + 1);
                    headers.push(header(&place, line)?);
                }
            }
        }
        for said in &self.header_env {
            let Some((name, of)) = said.split_once('=') else {
                return Err(Fault::usage("--header-env has no `=`; write it as `Authorization=PAGER_TOKEN`"));
            };
            let Some(value) = variable(of) else {
                let mend = "name the variable that has the header's value";
                return Err(Fault::usage(format!(
                    "--header-env {name}=…: the environment has no such variable; {mend}"
                )));
            };
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        for Unprinted(said) in &self.headers {
            headers.push(header("--header", said)?);
        }
        let mut named = BTreeMap::new();
        for (name, value) in headers {
            if named.keys().any(|other: &String| other.eq_ignore_ascii_case(&name)) {
                return Err(Fault::usage(format!(
                    "the header `{name}` is said twice: leave one of both out"
                )));
            }
            named.insert(name, value);
        }
        Ok(named)
    }
}

fn header(place: &str, text: &str) -> Result<(String, String), Fault> {
    let Some((name, value)) = text.split_once(':') else {
        return Err(Fault::usage(format!("{place} has no `:`; write it as `Authorization: Bearer …`")));
    };
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn signing_secret(path: &Path) -> Result<String, Fault> {
    let secret = read("--signing-secret-file", path)?.trim().to_owned();
    if secret.is_empty() {
        return Err(Fault::usage(format!("--signing-secret-file {}: the file is empty", path.display())));
    }
    Ok(secret)
}

fn read(option: &str, path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|error| Fault::usage(format!("{option} {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        set: SetArgs,
    }

    fn parsed(args: &[&str]) -> SetArgs {
        let base = ["set", "--state", "crashed", "--webhook", "https://a.example"];
        Line::try_parse_from(base.iter().chain(args)).expect("is a command").set
    }

    fn headers(args: &[&str]) -> Result<BTreeMap<String, String>, Fault> {
        parsed(args).all_headers(|variable| (variable == "TOKEN").then(|| "Bearer abc\n".to_owned()))
    }

    #[test]
    fn an_automation_is_what_was_said() {
        let args = [
            "--state=FAILED",
            "--state-name=Late",
            "--filter=kind = FLOW",
            "--each-attempt",
            "--timeout=2500ms",
        ];
        let request = parsed(&args).request("page-me".to_owned()).expect("is right");
        let trigger = request.trigger.expect("is said");
        assert_eq!(trigger.states().collect::<Vec<_>>(), [StateType::Crashed, StateType::Failed]);
        assert_eq!(
            (trigger.state_names.join(","), trigger.filter.as_str()),
            ("Late".to_owned(), "kind = FLOW")
        );
        assert!(trigger.each_attempt && !request.overwrite);
        let Some(Action::Webhook(webhook)) = request.action else { panic!("is a webhook") };
        assert_eq!((webhook.url.as_str(), webhook.signing_secret.as_str()), ("https://a.example", ""));
        assert_eq!(webhook.timeout, Some(Duration { seconds: 2, nanos: 500_000_000 }));
    }

    #[test]
    fn secrets_come_from_files_and_from_the_environment() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, key) = (folder.path().join("headers"), folder.path().join("key"));
        std::fs::write(&file, "X-Team: blue: green\n\nX-Key:abc\r\n").expect("is written");
        std::fs::write(&key, "whsec_abc\n").expect("is written");
        let file = format!("--header-file={}", file.display());
        let found = headers(&[&file, "--header-env=Authorization=TOKEN", "--header=X-Seen: yes"]);
        let expected =
            [("Authorization", "Bearer abc"), ("X-Key", "abc"), ("X-Seen", "yes"), ("X-Team", "blue: green")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found.expect("are right"), BTreeMap::from(expected));
        let key = format!("--signing-secret-file={}", key.display());
        let request = parsed(&[&key]).request("page-me".to_owned()).expect("is right");
        let Some(Action::Webhook(webhook)) = request.action else { panic!("is a webhook") };
        assert_eq!(webhook.signing_secret, "whsec_abc");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_secret() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("headers");
        std::fs::write(&file, "X-Team: blue\nhunter2\n").expect("is written");
        let file = format!("--header-file={}", file.display());
        for (args, told) in [
            (&[file.as_str()][..], "line 2 has no `:`"),
            (&["--header-file=/nowhere"], "--header-file /nowhere: No such file"),
            (&["--header=hunter2"], "--header has no `:`"),
            (&["--header-env=hunter2"], "write it as `Authorization=PAGER_TOKEN`"),
            (
                &["--header-env=Authorization=hunter2"],
                "Authorization=…: the environment has no such variable",
            ),
            (&["--header=X-A: hunter2", "--header=x-a: b"], "the header `x-a` is said twice"),
        ] {
            let fault = headers(args).expect_err("is wrong").to_string();
            assert!(fault.contains(told) && !fault.contains("hunter2"), "{args:?}: {fault}");
        }
        let printed = format!("{:?}", parsed(&["--header=X-A: hunter2"]));
        assert!(!printed.contains("hunter2"), "{printed}");
        let fault =
            parsed(&["--signing-secret-file=/dev/null"]).request("a".to_owned()).expect_err("is empty");
        assert!(fault.to_string().contains("the file is empty"), "{fault}");
    }
}
