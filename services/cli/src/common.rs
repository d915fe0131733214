//! What all nouns that ask a server have in common: where it is, and in which form the answer comes.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tidegate_filter::JsonFilter;
use tidegate_model::{Clock as _, SystemClock};

use tidegate_sdk_core::Error;

use crate::{completion, fault::Fault, names::nearest};

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
    #[arg(long, global = true, value_name = "NAME", add = completion::profiles())]
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
    /// Show it again whenever it has changed, until Ctrl-C: in place on a terminal, as much as fits there, and one below the
    /// other elsewhere
    #[arg(short, long)]
    pub watch: bool,
    /// How often to look whether it has changed: `500ms`, `1m`
    #[arg(long, requires = "watch", default_value = "2s", value_parser = parse_interval)]
    pub interval: Duration,
}

/// Things of a page at most.
const MAX_PAGE_SIZE: i32 = 1_000;

/// Options of a list. Where its service takes a filter it selects, else `select` does, in the same language.
#[derive(Args, Debug, Clone)]
pub struct Listed {
    /// Which ones, by the fields that `-o json` has: `name = gpu* AND max_slots > 2`, `pause:*`, `updated_at > -1h`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub filter: String,
    #[command(flatten)]
    pub watch: Watch,
}

impl Listed {
    /// Those of the list that are asked for. `like` has each field that such a thing may have, as `json` tells them.
    pub fn select<T>(
        &self,
        things: Vec<T>,
        json: impl Fn(&T) -> Value,
        like: &Value,
    ) -> Result<Vec<T>, Fault> {
        let Some(filter) = self.parsed(like)? else { return Ok(things) };
        Ok(things.into_iter().filter(|thing| filter.matches(&json(thing))).collect())
    }

    /// How many to ask for at once where `limit` are to be left.
    pub fn page_size(&self, limit: u32) -> i32 {
        if self.filter.is_empty() {
            i32::try_from(limit).unwrap_or(MAX_PAGE_SIZE).min(MAX_PAGE_SIZE)
        } else {
            MAX_PAGE_SIZE // few of them may be left
        }
    }

    /// The same of a list that comes by pages: on and on, until there are `limit` of those that are asked for.
    pub async fn select_pages<T>(
        &self,
        limit: u32,
        json: impl Fn(&T) -> Value,
        like: &Value,
        mut page: impl AsyncFnMut(String) -> Result<(Vec<T>, String), Error>,
    ) -> Result<Vec<T>, Fault> {
        let filter = self.parsed(like)?;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut selected, mut token) = (Vec::new(), String::new());
        loop {
            let (things, next) = page(token).await?;
            let is_asked_for = |thing: &T| filter.as_ref().is_none_or(|filter| filter.matches(&json(thing)));
            selected.extend(things.into_iter().filter(is_asked_for));
            if next.is_empty() || selected.len() >= limit {
                selected.truncate(limit);
                return Ok(selected);
            }
            token = next;
        }
    }

    /// The filter, whose fields are those of such a thing. `None`: all are asked for.
    fn parsed(&self, like: &Value) -> Result<Option<JsonFilter>, Fault> {
        if self.filter.is_empty() {
            return Ok(None);
        }
        let wrong = |why: String| Fault::usage(format!("the filter is wrong: {why}"));
        let filter =
            JsonFilter::parse(&self.filter, SystemClock.now()).map_err(|error| wrong(error.to_string()))?;
        let Some((unknown, known)) = filter.unknown_field(like) else { return Ok(Some(filter)) };
        let mend = match nearest(&unknown, known.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        Err(wrong(format!("`{unknown}` is no field of what is listed; {mend}")))
    }
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
    Duration::try_from(parse_span(text)?).map_err(|_| "is negative".to_owned())
}

/// A span of time as the API has it, in which a day has 24 hours.
pub fn parse_span(text: &str) -> Result<prost_types::Duration, String> {
    let mend = "write it as \"90s\", \"15m\" or \"1d 2h\"";
    let span: jiff::Span = text.parse().map_err(|error: jiff::Error| format!("{error}; {mend}"))?;
    let duration = span
        .to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| format!("months and years are of no fixed length; {mend}"))?;
    if duration.is_negative() {
        return Err(format!("it is negative; {mend}"));
    }
    Ok(prost_types::Duration { seconds: duration.as_secs(), nanos: duration.subsec_nanos() })
}

/// A moment, such as `2026-11-01T00:00:00Z`.
pub fn parse_time(text: &str) -> Result<prost_types::Timestamp, String> {
    text.parse().map_err(|_| "is no time in RFC 3339, such as `2026-11-01T00:00:00Z`".to_owned())
}

/// Between two looks: not so short that looking is all that is done.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err("is shorter than 100ms".to_owned());
    }
    Ok(interval)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_selected_by_what_programs_see_of_it() {
        let select = |filter: &str, things: &[&str]| {
            let watch = Watch { watch: false, interval: Duration::from_secs(1) };
            let listed = Listed { filter: filter.to_owned(), watch };
            listed.select(
                things.iter().map(|name| (*name).to_owned()).collect(),
                |name: &String| json!({ "name": name }),
                &json!({ "name": "" }),
            )
        };
        assert_eq!(select("", &["gpu", "cpu"]).expect("is right"), ["gpu", "cpu"]);
        assert_eq!(select("name = g*", &["gpu", "cpu"]).expect("is right"), ["gpu"]);
        assert_eq!(select("name = g*", &[]).expect("is right"), [""; 0]);
        for (filter, told) in [
            ("nam = g*", "the filter is wrong: `nam` is no field of what is listed; did you mean `name`?"),
            ("size > 2", "the filter is wrong: `size` is no field of what is listed; there are name"),
            ("name = ", "the filter is wrong: at column 8: a value is missing after `=`"),
        ] {
            assert_eq!(select(filter, &["gpu"]).expect_err("is wrong").to_string(), told);
            assert_eq!(select(filter, &[]).expect_err("is wrong").to_string(), told, "of no things, too");
        }
    }

    #[tokio::test]
    async fn a_list_by_pages_is_read_until_there_are_as_many_as_are_asked_for() {
        let select = async |filter: &str, limit: u32| {
            let watch = Watch { watch: false, interval: Duration::from_secs(1) };
            let listed = Listed { filter: filter.to_owned(), watch };
            let mut asked = Vec::new();
            // Ten pages of ten numbers.
            let page = async |token: String| {
                let page: u32 = token.parse().unwrap_or(0);
                asked.push(page);
                let next = if page < 9 { (page + 1).to_string() } else { String::new() };
                Ok::<_, Error>(((page * 10..page * 10 + 10).collect(), next))
            };
            let json = |number: &u32| json!({ "tens": number / 10 });
            let found =
                listed.select_pages(limit, json, &json!({ "tens": 0 }), page).await.expect("is right");
            (found, asked.len())
        };
        assert_eq!(select("", 3).await, (vec![0, 1, 2], 1));
        assert_eq!(select("tens = 7", 3).await, (vec![70, 71, 72], 8));
        assert_eq!(select("tens > 7", 50).await, ((80..100).collect(), 10));
        assert_eq!(select("tens > 9", 50).await, (vec![], 10));
    }

    #[test]
    fn spans_are_read_with_days() {
        assert_eq!(parse_duration("1d 2h"), Ok(Duration::from_secs(26 * 3_600)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["-1s", "1 month", "soon", ""] {
            assert!(parse_duration(wrong).expect_err(wrong).contains("write it as \"90s\""), "{wrong}");
        }
    }
}
