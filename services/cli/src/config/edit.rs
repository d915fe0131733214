//! Changes of the configuration file, which keep whatever else people have written there.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::file::{Profile, Source, parse};
use crate::fault::Fault;

/// The keys of a profile.
pub const KEYS: [&str; 4] = ["address", "namespace", "output", "color"];

/// A change of the file.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// The profile says so from now on; it is made where it is not there.
    Set { profile: &'a str, key: &'a str, value: &'a str },
    /// The profile does not say it any more.
    Unset { profile: &'a str, key: &'a str },
    /// There is such a profile, which says nothing yet.
    Create { profile: &'a str },
    /// There is no such profile any more.
    Delete { profile: &'a str },
    /// This profile is used where nobody names one.
    Use { profile: &'a str },
}

/// Makes the change, and writes the file.
pub fn change(source: &Source, change: Change<'_>) -> Result<(), Fault> {
    if source.path.as_os_str().is_empty() {
        let told = "there is no HOME to have a configuration in: set TIDEGATE_CONFIG to the path of one";
        return Err(Fault::usage(told));
    }
    let at = |why: String| Fault::usage(format!("{}: {why}", source.path.display()));
    let text = changed(source, change).map_err(at)?;
    write(&source.path, &text).map_err(|error| {
        Fault::stopped(format!("cannot write the configuration {}: {error}", source.path.display()))
    })
}

/// The text with the change: what it says is read again, so that nothing but what was asked for is written.
fn changed(source: &Source, change: Change<'_>) -> Result<String, String> {
    let text = edited(source, change);
    let mut wanted = said(&source.text)?;
    match change {
        Change::Set { profile, key, value } => {
            wanted.profiles.entry(profile.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        }
        Change::Unset { profile, key } => {
            wanted.profiles.entry(profile.to_owned()).or_default().remove(key);
        }
        Change::Create { profile } => {
            wanted.profiles.entry(profile.to_owned()).or_default();
        }
        Change::Delete { profile } => {
            wanted.profiles.remove(profile);
        }
        Change::Use { profile } => wanted.profile = Some(profile.to_owned()),
    }
    match said(&text) {
        Ok(found) if found == wanted => Ok(text),
        // A value that is not right is told in its own words; the line is one that is not written.
        Err(why) if matches!(change, Change::Set { .. }) => {
            Err(why.split_once(": ").map_or(why.clone(), |(_, why)| why.to_owned()))
        }
        _ => Err("it is written in a way that this command does not know: change it by hand".to_owned()),
    }
}

/// What a file says, without where it says it.
#[derive(Debug, PartialEq)]
struct Said {
    profile: Option<String>,
    profiles: BTreeMap<String, BTreeMap<String, String>>,
}

fn said(text: &str) -> Result<Said, String> {
    parse(text)?; // refuses what means nothing
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let word = |value: &toml::Value| value.as_str().unwrap_or_default().to_owned();
    let profiles = table.get("profiles").and_then(toml::Value::as_table).into_iter().flatten();
    let keys = |values: &toml::Value| {
        let values = values.as_table().into_iter().flatten();
        values.map(|(key, value)| (key.clone(), word(value))).collect()
    };
    Ok(Said {
        profile: table.get("profile").map(word),
        profiles: profiles.map(|(name, values)| (name.clone(), keys(values))).collect(),
    })
}

fn edited(source: &Source, change: Change<'_>) -> String {
    let text = source.text.as_str();
    match change {
        Change::Set { profile, key, value } => {
            let line = format!("{key} = {}\n", quoted(value));
            match (span(source, profile, key), header(text, profile)) {
                (Some(span), _) => format!("{}{}{}", &text[..span.start], quoted(value), &text[span.end..]),
                (None, Some(end)) => format!("{}{line}{}", ended(&text[..end]), &text[end..]),
                (None, None) => format!("{}{line}", with_profile(text, profile)),
            }
        }
        Change::Unset { profile, key } => match span(source, profile, key) {
            Some(span) => {
                let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
                let end = text[span.end..].find('\n').map_or(text.len(), |at| span.end + at + 1);
                format!("{}{}", &text[..start], &text[end..])
            }
            None => text.to_owned(),
        },
        Change::Create { profile } => with_profile(text, profile),
        Change::Delete { profile } => match header(text, profile) {
            Some(body) => {
                let start = text[..body].trim_end_matches('\n').rfind('\n').map_or(0, |at| at + 1);
                let lines = text[body..].split_inclusive('\n').take_while(|line| !line.starts_with('['));
                // What stands behind its last key is not about it, but for the line that sets it apart.
                let (mut end, mut at) = (body, body);
                for line in lines {
                    at += line.len();
                    if line.contains('=') && !line.trim_start().starts_with('#') {
                        end = at;
                    }
                }
                let rest = &text[end..];
                let rest = rest.strip_prefix('\n').filter(|rest| !rest.is_empty()).unwrap_or(rest);
                format!("{}{rest}", &text[..start])
            }
            None => text.to_owned(),
        },
        Change::Use { profile } => match source.file.profile.as_ref().map(toml::Spanned::span) {
            Some(span) => format!("{}{}{}", &text[..span.start], quoted(profile), &text[span.end..]),
            None => format!("profile = {}\n\n{text}", quoted(profile)),
        },
    }
}

/// Where the value of a key is.
fn span(source: &Source, profile: &str, key: &str) -> Option<std::ops::Range<usize>> {
    let Profile { address, namespace, output, color } = source.file.profiles.get(profile)?;
    match key {
        "address" => address.as_ref().map(toml::Spanned::span),
        "namespace" => namespace.as_ref().map(toml::Spanned::span),
        "output" => output.as_ref().map(toml::Spanned::span),
        "color" => color.as_ref().map(toml::Spanned::span),
        _ => None,
    }
}

/// Where the line that begins the profile ends.
fn header(text: &str, profile: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        let bare = line.split('#').next().unwrap_or_default().trim();
        if bare == format!("[profiles.{profile}]") || bare == format!("[profiles.{}]", quoted(profile)) {
            return Some(at);
        }
    }
    None
}

fn with_profile(text: &str, profile: &str) -> String {
    let gap = if text.is_empty() { "" } else { "\n" };
    format!("{}{gap}[profiles.{profile}]\n", ended(text))
}

/// A text whose last line has an end.
fn ended(text: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}")
}

fn quoted(value: &str) -> String {
    toml::Value::String(value.to_owned()).to_string()
}

/// Writes beside it and moves it there: nobody reads half a file. Who may read it stays; a new one is for its owner alone.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()); // a link stays one
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mode = fs::metadata(&path).map_or(0o600, |there| there.permissions().mode() & 0o777);
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "config.toml".into(), text: text.to_owned(), file: parse(text).expect("is right") }
    }

    const FILE: &str = "# mine\nprofile = \"a\"\n\n[profiles.a] # here\naddress = \"http://h:1\" # the old one\n\n\
                        [profiles.b]\nnamespace = \"x\"\n";

    #[test]
    fn what_is_not_meant_stays_as_it_is_written() {
        for (change, from, to) in [
            (Change::Set { profile: "a", key: "address", value: "http://h:2" }, "h:1\" # the", "h:2\" # the"),
            (
                Change::Set { profile: "a", key: "output", value: "json" },
                "# here\n",
                "# here\noutput = \"json\"\n",
            ),
            (Change::Unset { profile: "a", key: "address" }, "address = \"http://h:1\" # the old one\n", ""),
            (Change::Unset { profile: "a", key: "color" }, "", ""),
            (Change::Use { profile: "b" }, "profile = \"a\"", "profile = \"b\""),
            (Change::Delete { profile: "b" }, "[profiles.b]\nnamespace = \"x\"\n", ""),
            (
                Change::Delete { profile: "a" },
                "[profiles.a] # here\naddress = \"http://h:1\" # the old one\n\n",
                "",
            ),
        ] {
            assert_eq!(changed(&source(FILE), change), Ok(FILE.replacen(from, to, 1)), "{change:?}");
        }
        let made = changed(&source(FILE), Change::Set { profile: "c", key: "color", value: "never" });
        assert_eq!(made, Ok(format!("{FILE}\n[profiles.c]\ncolor = \"never\"\n")));
        assert_eq!(changed(&source(""), Change::Create { profile: "c" }), Ok("[profiles.c]\n".to_owned()));
    }

    #[test]
    fn what_stands_above_the_next_profile_stays_when_one_goes() {
        let text = "[profiles.b]\n# of b\nnamespace = \"x\"\n\n# of c, two\n# lines\n[profiles.c]\n";
        let left = changed(&source(text), Change::Delete { profile: "b" });
        assert_eq!(left.as_deref(), Ok("# of c, two\n# lines\n[profiles.c]\n"));
        let text = "[profiles.a]\n\n[profiles.b]\nnamespace = \"x\" # last\n# the end\n";
        let left = changed(&source(text), Change::Delete { profile: "b" });
        assert_eq!(left.as_deref(), Ok("[profiles.a]\n\n# the end\n"));
    }

    #[test]
    fn who_may_read_the_file_stays() {
        let folder = tempfile::tempdir().expect("is made");
        let path = folder.path().join("config.toml");
        let mode = || fs::metadata(&path).expect("is there").permissions().mode() & 0o777;
        write(&path, "").expect("is written");
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("is set");
        write(&path, "").expect("is written");
        assert_eq!(mode(), 0o644);
    }

    #[test]
    fn what_would_not_be_right_is_not_written() {
        let wrong = Change::Set { profile: "a", key: "address", value: "ftp://h" };
        let why = changed(&source(FILE), wrong).expect_err("is wrong");
        assert!(why.starts_with("`ftp://h` is no address"), "{why}");
        let inline = source("profiles = { a = { address = \"http://h:1\" } }\n");
        let why = changed(&inline, Change::Delete { profile: "a" }).expect_err("is not known");
        assert!(why.contains("by hand"), "{why}");
    }
}
