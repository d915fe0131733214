//! Which value holds of those that options, the environment, the profile and the program have.

use clap::ValueEnum;
use toml::Spanned;

use super::file::{Address, DEFAULT_PROFILE, Profile, Source};
use crate::{
    common::{Common, Format, When},
    fault::Fault,
    names::nearest,
};

/// Where `tidegate dev` listens.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:4400";

/// A value, and where it comes from.
#[derive(Debug)]
pub struct Setting<T> {
    /// The value that holds.
    pub value: T,
    /// Who said so.
    pub origin: Origin,
}

/// Who said a value. Each goes over those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An option of the command.
    Flag(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// A profile, with the line of the file.
    Profile(String, usize),
    /// The file, with its line.
    File(usize),
    /// The program.
    Default,
}

/// What holds for a command.
#[derive(Debug)]
pub struct Settings {
    /// The profile that was looked into.
    pub profile: Setting<String>,
    /// Where the api listens.
    pub address: Setting<String>,
    /// The tenant.
    pub namespace: Setting<String>,
    /// In which form the answer comes.
    pub output: Setting<Format>,
    /// Whether states have colours.
    pub color: Setting<When>,
}

impl Settings {
    /// What options say, or the environment, or the profile, or else the program.
    pub fn of(common: &Common) -> Result<Self, Fault> {
        Self::over(&Source::read()?, common)
    }

    /// The same with a file that has been read.
    pub fn over(source: &Source, common: &Common) -> Result<Self, Fault> {
        let file = &source.file;
        let named = file.profile.as_ref();
        let profile = of_text(common.profile.as_ref(), "--profile", "TIDEGATE_PROFILE")
            .or_else(|| named.map(|name| setting(name.get_ref().clone(), Origin::File(source.line(name)))))
            .unwrap_or_else(|| setting(DEFAULT_PROFILE.to_owned(), Origin::Default));
        let nothing = Profile::default();
        let said = match file.profiles.get(&profile.value) {
            Some(said) => said,
            None if profile.value == DEFAULT_PROFILE => &nothing,
            None => return Err(no_profile(source, &profile.value)),
        };
        let below = Below { source, profile: &profile.value };
        Ok(Self {
            address: of_text(common.address.as_ref(), "--address", "TIDEGATE_ADDRESS").unwrap_or_else(|| {
                below.pick(said.address.as_ref(), |Address(address)| address, DEFAULT_ADDRESS.to_owned())
            }),
            namespace: of_text(common.namespace.as_ref(), "--namespace", "TIDEGATE_NAMESPACE")
                .unwrap_or_else(|| below.pick(said.namespace.as_ref(), |name| name, "default".to_owned())),
            output: of_word(common.output, "--output", "TIDEGATE_OUTPUT")?
                .unwrap_or_else(|| below.pick(said.output.as_ref(), |format| format, Format::Table)),
            color: of_word(common.color, "--color", "TIDEGATE_COLOR")?
                .or_else(|| {
                    variable("NO_COLOR").map(|_| setting(When::Never, Origin::Environment("NO_COLOR")))
                })
                .unwrap_or_else(|| below.pick(said.color.as_ref(), |when| when, When::Auto)),
            profile,
        })
    }
}

/// What a profile says, or else the program.
struct Below<'a> {
    source: &'a Source,
    profile: &'a str,
}

impl Below<'_> {
    fn pick<S: Clone, T>(
        &self,
        said: Option<&Spanned<S>>,
        value: impl FnOnce(S) -> T,
        default: T,
    ) -> Setting<T> {
        match said {
            Some(said) => {
                let origin = Origin::Profile(self.profile.to_owned(), self.source.line(said));
                setting(value(said.get_ref().clone()), origin)
            }
            None => setting(default, Origin::Default),
        }
    }
}

fn setting<T>(value: T, origin: Origin) -> Setting<T> {
    Setting { value, origin }
}

/// A variable of the environment; an empty one is as none.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn of_text(flag: Option<&String>, option: &'static str, env: &'static str) -> Option<Setting<String>> {
    flag.map(|value| setting(value.clone(), Origin::Flag(option)))
        .or_else(|| variable(env).map(|value| setting(value, Origin::Environment(env))))
}

fn of_word<T: ValueEnum>(
    flag: Option<T>,
    option: &'static str,
    env: &'static str,
) -> Result<Option<Setting<T>>, Fault> {
    if let Some(value) = flag {
        return Ok(Some(setting(value, Origin::Flag(option))));
    }
    let Some(word) = variable(env) else { return Ok(None) };
    match T::from_str(&word, false) {
        Ok(value) => Ok(Some(setting(value, Origin::Environment(env)))),
        Err(_) => {
            let words: Vec<String> = T::value_variants()
                .iter()
                .filter_map(|value| value.to_possible_value().map(|value| format!("`{}`", value.get_name())))
                .collect();
            Err(Fault::usage(format!("{env} is `{word}`, but must be one of {}", words.join(", "))))
        }
    }
}

/// A profile that is named and not there.
pub fn no_profile(source: &Source, name: &str) -> Fault {
    let names: Vec<String> = source.file.profiles.keys().map(|name| format!("`{name}`")).collect();
    let there =
        if names.is_empty() { "it has none".to_owned() } else { format!("it has {}", names.join(", ")) };
    let mend = match nearest(name, source.file.profiles.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`tidegate config profiles create {name}` makes it"),
    };
    Fault::missing(format!("there is no profile `{name}` in {}: {there}; {mend}", source.path.display()))
}
