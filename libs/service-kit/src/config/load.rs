use std::{fmt, path::Path};

use figment::{
    Figment,
    error::Kind,
    providers::{Env, Format, Serialized, Toml},
    value::{Dict, Value},
};

use super::ServiceConfig;

/// `TIDEGATE__POSTGRES__MAX_CONNECTIONS` sets `postgres.max_connections`.
const ENV_PREFIX: &str = "TIDEGATE__";

/// Everything that is wrong with a configuration, one sentence each.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// The embedded defaults, with nothing over them.
///
/// # Panics
/// The defaults do not fit the type: a test of each service calls this.
pub fn defaults<C: ServiceConfig>() -> C {
    match Figment::from(Toml::string(C::DEFAULT_TOML)).extract() {
        Ok(config) => config,
        Err(error) => panic!("the embedded default configuration is wrong: {error}"),
    }
}

/// The defaults, `file` over them, and the environment over that.
///
/// # Errors
/// Every fault at once: a file that cannot be read, unknown keys, values of the wrong form, and what
/// [`ServiceConfig::validate`] says.
pub fn load<C: ServiceConfig>(file: Option<&Path>) -> Result<C, Faults> {
    let mut over = Figment::new();
    if let Some(path) = file {
        if let Err(error) = std::fs::File::open(path) {
            return Err(Faults(vec![format!("{}: {error}", path.display())]));
        }
        over = over.merge(Toml::file_exact(path));
    }
    over = over.merge(Env::prefixed(ENV_PREFIX).split("__"));
    let mut values: Dict = over.extract().map_err(|error| Faults(vec![error.to_string()]))?;

    // Reading stops at the first fault. So that all are told at once, a wrong value is noted and taken out,
    // which brings its default back, and reading starts again.
    let mut faults = Vec::new();
    let config: C = loop {
        let figment =
            Figment::from(Toml::string(C::DEFAULT_TOML)).merge(Serialized::defaults(values.clone()));
        match figment.extract_lossy() {
            Ok(config) => break config,
            Err(errors) => {
                for error in errors {
                    let path = key_of(&error);
                    faults.push(describe(&error.kind, &path, &over));
                    if !remove(&mut values, &path) {
                        return Err(Faults(faults)); // nothing to take out: it would not end
                    }
                }
            }
        }
    };
    faults.extend(config.validate());
    if faults.is_empty() { Ok(config) } else { Err(Faults(faults)) }
}

/// As TOML, secrets masked.
pub fn print<C: ServiceConfig>(config: &C) -> Result<String, Faults> {
    toml::to_string(config)
        .map_err(|error| Faults(vec![format!("the configuration cannot be printed: {error}")]))
}

fn key_of(error: &figment::Error) -> Vec<String> {
    let mut path = error.path.clone();
    if let Kind::UnknownField(field, _) = &error.kind
        && path.last() != Some(field)
    {
        path.push(field.clone());
    }
    path
}

fn describe(kind: &Kind, path: &[String], over: &Figment) -> String {
    let key = path.join(".");
    let source = over.find_metadata(&key).map_or_else(String::new, |metadata| match &metadata.source {
        Some(source) => format!(" (in {source})"),
        None => format!(" (in the environment: {ENV_PREFIX}{})", path.join("__").to_uppercase()),
    });
    match kind {
        Kind::UnknownField(_, expected) => {
            format!("{key}: unknown key{source}; known here: {}", expected.join(", "))
        }
        kind => format!("{key}: {kind}{source}"),
    }
}

/// Takes the value at `path` out; false where there is none.
fn remove(values: &mut Dict, path: &[String]) -> bool {
    match path {
        [] => false,
        [last] => values.remove(last).is_some(),
        [first, rest @ ..] => match values.get_mut(first) {
            Some(Value::Dict(_, inner)) => remove(inner, rest),
            // A plain value where a section belongs: the error lies below it.
            Some(_) => values.remove(first).is_some(),
            None => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use serde::{Deserialize, Serialize};

    use super::{super::*, *};

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        listen: std::net::SocketAddr,
        shutdown_grace: HumanDuration,
        postgres: Postgres,
    }

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Postgres {
        url: SecretUrl,
        max_connections: NonZeroU32,
        buffer: ByteSize,
    }

    impl ServiceConfig for Config {
        const DEFAULT_TOML: &'static str = r#"
            listen = "127.0.0.1:4400"
            shutdown_grace = "30s"
            [postgres]
            url = "postgres://me:hunter2@localhost/tidegate"
            max_connections = 16
            buffer = "8MiB"
        "#;

        fn validate(&self) -> Vec<String> {
            if self.postgres.buffer.as_bytes() < 1024 {
                return vec!["postgres.buffer: at least 1KiB is needed".to_owned()];
            }
            Vec::new()
        }

        fn listen(&self) -> std::net::SocketAddr {
            self.listen
        }

        fn shutdown_grace(&self) -> Duration {
            *self.shutdown_grace
        }
    }

    fn load_toml(text: &str) -> Result<Config, Faults> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path))
    }

    #[test]
    fn a_file_goes_over_the_defaults_and_secrets_are_masked() {
        let config = load_toml("[postgres]\nmax_connections = 4").unwrap();
        assert_eq!((config.postgres.max_connections.get(), config.listen.port()), (4, 4400));
        assert!(config.postgres.url.expose().contains("hunter2"));
        let printed = print(&config).unwrap();
        assert!(!printed.contains("hunter2") && printed.contains("buffer = \"8MiB\""), "{printed}");
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let faults = load_toml(
            "lissten = 1\nshutdown_grace = \"soon\"\n[postgres]\nmax_connections = 0\nbuffer = \"1B\"\nurll = 3",
        )
        .unwrap_err()
        .0;
        assert_eq!(faults.len(), 5, "{faults:#?}");
        for part in [
            "lissten: unknown key",
            "shutdown_grace: `soon`",
            "postgres.max_connections",
            "postgres.urll",
            "buffer",
        ] {
            assert!(faults.iter().any(|fault| fault.contains(part)), "{part}: {faults:#?}");
        }
        assert!(faults[0].contains("config.toml"), "{}", faults[0]);
    }

    #[test]
    fn a_section_that_is_a_value_and_a_broken_file_are_faults() {
        assert!(load_toml("postgres = 3").unwrap_err().0[0].contains("postgres"));
        assert!(!load_toml("a = [").unwrap_err().0.is_empty());
        assert!(
            load::<Config>(Some(Path::new("/does/not/exist"))).unwrap_err().0[0].contains("/does/not/exist")
        );
    }
}
