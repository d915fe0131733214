use std::{fmt, fs};

use serde::{Deserialize, Serialize, Serializer};

const MASK: &str = "********";

/// A secret. It is masked wherever it is printed; [`SecretString::expose`] is the one way to its text.
///
/// In the configuration `file:/run/secrets/token` stands for the content of that file, without the line
/// break at its end.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretString(String);

impl SecretString {
    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SecretString {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(path) = text.strip_prefix("file:") else { return Ok(Self(text)) };
        match fs::read_to_string(path) {
            Ok(content) => Ok(Self(content.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => Err(format!("the secret cannot be read from `{path}`: {error}")),
        }
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for SecretString {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A URL that may hold a password, such as that of a database. Printed, its password is masked.
///
/// In the configuration `file:/run/secrets/postgres-url` stands for the content of that file.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretUrl(SecretString);

impl SecretUrl {
    /// The URL with its password.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl TryFrom<String> for SecretUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = SecretString::try_from(text)?;
        if url.expose().contains("://") {
            Ok(Self(url))
        } else {
            // The text is not shown: it may be a password in the wrong place.
            Err("the value is not a URL such as `postgres://user@host/database`".to_owned())
        }
    }
}

impl std::str::FromStr for SecretUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((scheme, rest)) = self.expose().split_once("://") else { return f.write_str(MASK) };
        let end_of_authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end_of_authority);
        write!(f, "{scheme}://")?;
        match authority.rsplit_once('@') {
            Some((credentials, host)) => match credentials.split_once(':') {
                Some((user, _)) => write!(f, "{user}:{MASK}@{host}")?,
                None => write!(f, "{credentials}@{host}")?,
            },
            None => f.write_str(authority)?,
        }
        // Parameters may hold a password too (`?password=`), and they are not worth a parser here.
        match path.split_once('?') {
            Some((path, _)) => write!(f, "{path}?{MASK}"),
            None => f.write_str(path),
        }
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked() {
        for (url, shown) in [
            ("postgres://me:pa@ss@db:5432/tidegate", "postgres://me:********@db:5432/tidegate"),
            ("postgres://me@db/tidegate?password=x", "postgres://me@db/tidegate?********"),
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ] {
            let url: SecretUrl = url.parse().unwrap();
            assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        }
        assert_eq!(format!("{:?}", SecretString::try_from("abc".to_owned()).unwrap()), MASK);
        assert!(!"hunter2".parse::<SecretUrl>().unwrap_err().contains("hunter2"));
    }
}
