//! The configuration file: profiles by name, and which of them is used.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    common::{Format, When},
    fault::Fault,
};

/// The profile that is used where the file names none. It need not be there.
pub const DEFAULT_PROFILE: &str = "default";

/// What the file says.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The profile that is used where nobody names one.
    pub profile: Option<Spanned<String>>,
    /// The profiles.
    #[serde(default)]
    pub profiles: BTreeMap<String, Profile>,
}

/// What a profile says; the environment and options go over it.
#[derive(Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Where the api listens.
    pub address: Option<Spanned<Address>>,
    /// The tenant.
    pub namespace: Option<Spanned<String>>,
    /// In which form answers come.
    pub output: Option<Spanned<Format>>,
    /// Whether states have colours.
    pub color: Option<Spanned<When>>,
}

/// Where an api listens: a text that a client can make an address of.
#[derive(Deserialize, Debug, Clone)]
#[serde(try_from = "String")]
pub struct Address(pub String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(address: String) -> Result<Self, String> {
        match tidegate_sdk_core::Options::new(&address, "") {
            Ok(_) => Ok(Self(address)),
            Err(_) => Err(format!("`{address}` is no address; write it as `http://host:4400`")),
        }
    }
}

/// A file with its place and its text.
#[derive(Debug, Default)]
pub struct Source {
    /// Where it is, or would be. Empty: there is no HOME that it could be in, as for a service.
    pub path: PathBuf,
    /// As it stands there; empty where there is none.
    pub text: String,
    /// What it says.
    pub file: File,
}

impl Source {
    /// Reads the file. One that is not there says nothing.
    pub fn read() -> Result<Self, Fault> {
        let Some(path) = path() else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Fault::usage(format!(
                    "cannot read the configuration {}: {error}",
                    path.display()
                )));
            }
        };
        let file = parse(&text).map_err(|fault| Fault::usage(format!("{}: {fault}", path.display())))?;
        Ok(Self { path, text, file })
    }

    /// The line in which a value is, counted from 1.
    pub fn line<T>(&self, value: &Spanned<T>) -> usize {
        self.text[..value.span().start].matches('\n').count() + 1
    }
}

/// What a text says, or the line in which it says nothing sensible.
pub fn parse(text: &str) -> Result<File, String> {
    toml::from_str(text).map_err(|error| {
        let what = error.message().trim_end().replace('\n', "; ");
        match error.span() {
            Some(span) => {
                format!("line {}: {what}", text[..span.start.min(text.len())].matches('\n').count() + 1)
            }
            None => what,
        }
    })
}

/// `TIDEGATE_CONFIG`, or `tidegate/config.toml` in the folder for configurations.
fn path() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = of("TIDEGATE_CONFIG") {
        return Some(named);
    }
    // What is no absolute path is to be ignored: so says the specification of these folders.
    let folder = of("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| of("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("tidegate/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let wrong = |text: &str| parse(text).expect_err("is wrong");
        for (text, told) in [
            ("[profiles.a]\n\naddres = \"http://h:1\"", "line 3: unknown field `addres`"),
            ("[profiles.a]\naddress = \"ftp://h\"", "line 2: `ftp://h` is no address; write it as"),
            ("\n[profiles.a]\noutput = \"xml\"", "line 3: unknown variant `xml`, expected one of `table`"),
            ("[profiles.a\n", "line 1: "),
            ("profile = 1", "line 1: invalid type"),
        ] {
            assert!(wrong(text).starts_with(told), "{text:?}: {}", wrong(text));
        }
    }
}
