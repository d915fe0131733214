//! What all nouns that ask a server have in common: where it is, and in which form the answer comes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// Options of each noun that asks a server. What is not said here is looked for in the environment and the profile:
/// `crate::config::Settings`.
#[derive(Args, Debug, Clone, Default)]
pub struct Common {
    /// Where the api listens [env: TIDEGATE_ADDRESS] [default: http://127.0.0.1:4400]
    #[arg(long, global = true, value_name = "URL")]
    pub address: Option<String>,
    /// The tenant [env: TIDEGATE_NAMESPACE] [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    pub namespace: Option<String>,
    /// Which profile of the configuration says what is not said here [env: TIDEGATE_PROFILE]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Option<String>,
    /// In which form the answer comes [env: TIDEGATE_OUTPUT] [default: table]
    #[arg(short, long, value_enum, global = true, value_name = "FORM")]
    pub output: Option<Format>,
    /// Whether states have colours [env: TIDEGATE_COLOR, NO_COLOR] [default: auto]
    #[arg(long, value_enum, global = true, value_name = "WHEN")]
    pub color: Option<When>,
}

/// Options of a list, or of one thing that is shown.
#[derive(Args, Debug, Clone, Copy)]
pub struct Watch {
    /// Show it again whenever it has changed, until Ctrl-C: in place on a terminal, one below the other elsewhere
    #[arg(short, long)]
    pub watch: bool,
    /// How often to look whether it has changed: `500ms`, `1m`
    #[arg(long, requires = "watch", default_value = "2s", value_parser = parse_interval)]
    pub interval: Duration,
}

/// The form of an answer.
#[derive(ValueEnum, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people
    Table,
    /// For programs: the field names of the API, times in RFC 3339; one document a line where lines are followed
    Json,
    /// The same as YAML, a document after the other where lines are followed
    Yaml,
    /// What names each thing, one a line: its id, or its name
    Name,
}

/// When there are colours.
#[derive(ValueEnum, Serialize, Deserialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// On a terminal, where NO_COLOR is not set
    Auto,
    /// Everywhere
    Always,
    /// Nowhere
    Never,
}

/// A span of time, such as `90s` or `2h`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}; write it as `90s`"))?;
    Duration::try_from(span).map_err(|_| "is negative".to_owned())
}

/// Between two looks: not so short that looking is all that is done.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err("is shorter than 100ms".to_owned());
    }
    Ok(interval)
}
