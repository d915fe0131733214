use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The secrets that jobs may refer to by name: files of a directory, or variables `TIDEGATE_SECRET_<NAME>`.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: PathBuf,
}

/// There is no such secret.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct MissingSecret(String);

impl Secrets {
    /// Those that are files of `dir`, and those of the environment.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The value of a secret, without the line break at its end.
    ///
    /// # Errors
    /// Where there is none, or it cannot be read; the text tells the mend.
    pub fn get(&self, name: &str) -> Result<String, MissingSecret> {
        self.get_with(name, |variable| std::env::var(variable).ok())
    }

    fn get_with(
        &self,
        name: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<String, MissingSecret> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 128 || !name.bytes().all(is_name) || name.starts_with('.') {
            let message =
                "is no name of a secret: 1 to 128 characters of `A-Z a-z 0-9 . _ -`, the first no dot";
            return Err(MissingSecret(format!("`{name}` {message}")));
        }
        let file = self.dir.join(name);
        match std::fs::read_to_string(&file) {
            Ok(value) => return Ok(value.trim_end_matches(['\r', '\n']).to_owned()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => {
                let message = format!("the secret `{name}` cannot be read from {}: {error}", file.display());
                return Err(MissingSecret(message));
            }
        }
        let variable_name = variable_of(name);
        variable(&variable_name).ok_or_else(|| {
            MissingSecret(format!(
                "this worker has no secret `{name}`: give it one as the file {}, or as the variable {variable_name}",
                file.display(),
            ))
        })
    }

    /// Where they are looked for first.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Where a secret is looked for in the environment.
pub(crate) fn variable_of(name: &str) -> String {
    let letter = |char: char| if char.is_ascii_alphanumeric() { char.to_ascii_uppercase() } else { '_' };
    format!("TIDEGATE_SECRET_{}", name.chars().map(letter).collect::<String>())
}

/// Hides values of secrets in what is shown to people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mask(Vec<String>);

/// A shorter one would hide words by chance.
const MIN_MASKED: usize = 4;

impl Mask {
    /// Hides `values`, and each line of one that has several.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let lines = values.into_iter().flat_map(|value| std::iter::once(value).chain(value.lines()));
        let mut hidden: Vec<String> =
            lines.map(str::trim).filter(|line| line.len() >= MIN_MASKED).map(str::to_owned).collect();
        // The longest first: one may be a part of another.
        hidden.sort_by_key(|value| std::cmp::Reverse(value.len()));
        hidden.dedup();
        Self(hidden)
    }

    /// One that hides `values` too.
    pub(crate) fn with<'a>(&self, values: impl IntoIterator<Item = &'a str>) -> Self {
        let further = Self::new(values).0;
        Self::new(self.0.iter().chain(&further).map(String::as_str))
    }

    /// Bytes of the longest one.
    pub(crate) fn longest(&self) -> usize {
        self.0.first().map_or(0, String::len)
    }

    /// `text` without secrets.
    pub(crate) fn apply(&self, text: &str) -> String {
        let hide = |text: String, secret: &String| {
            if text.contains(secret.as_str()) { text.replace(secret.as_str(), "****") } else { text }
        };
        self.0.iter().fold(text.to_owned(), hide)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_before_a_variable() {
        let dir = tempfile::tempdir().unwrap();
        let secrets = Secrets::new(dir.path());
        let variable =
            |name: &str| (name == "TIDEGATE_SECRET_DB_PASSWORD").then(|| "of a variable".to_owned());
        assert_eq!(secrets.get_with("db-password", variable).unwrap(), "of a variable");
        std::fs::write(dir.path().join("db-password"), "of a file\n").unwrap();
        assert_eq!(secrets.get_with("db-password", variable).unwrap(), "of a file");
    }

    #[test]
    fn what_is_missing_is_told_with_the_places_where_it_may_be() {
        let error = Secrets::new("/run/secrets").get_with("token", |_| None).unwrap_err().to_string();
        assert!(error.contains("/run/secrets/token") && error.contains("TIDEGATE_SECRET_TOKEN"), "{error}");
    }

    #[test]
    fn a_name_does_not_lead_out_of_the_directory() {
        for name in ["", "../etc/passwd", "/etc/passwd", ".hidden", "a/b", "a\0b"] {
            let error = Secrets::new("/").get_with(name, |_| Some("found".into())).unwrap_err();
            assert!(error.to_string().contains("is no name"), "{error}");
        }
    }

    #[test]
    fn secrets_are_hidden_also_line_by_line() {
        let mask = Mask::new(["hunter22", "hunter22-long", "-----BEGIN\nabcdefgh\n-----END", "abc"]);
        assert_eq!(mask.apply("hunter22-long hunter22 abc"), "**** **** abc");
        assert_eq!(mask.apply("the key is abcdefgh"), "the key is ****");
        let more = mask.with(["later"]);
        assert_eq!(more.apply("hunter22, and later"), "****, and ****");
    }
}
