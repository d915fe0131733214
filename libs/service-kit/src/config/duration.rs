use std::{fmt, ops::Deref, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A span of time as people write it: `30s`, `250ms`, `1h30m`, `14d`. To the millisecond.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HumanDuration(Duration);

/// The units in milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl HumanDuration {
    /// From a duration; what is below a millisecond is not printed.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// As a duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl Deref for HumanDuration {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is not a time such as `250ms`, `30s`, `5m`, `1h30m` or `14d`");
        let mut rest = text;
        let mut millis: u64 = 0;
        // Each unit may come once, larger before smaller.
        let mut units = UNITS.iter();
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(fault)?;
            let number: u64 = rest[..digits].parse().map_err(|_| fault())?;
            rest = &rest[digits..];
            let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
            let (_, factor) = units.find(|(name, _)| *name == &rest[..letters]).ok_or_else(fault)?;
            rest = &rest[letters..];
            millis =
                number.checked_mul(*factor).and_then(|part| millis.checked_add(part)).ok_or_else(fault)?;
        }
        if text.is_empty() { Err(fault()) } else { Ok(Self(Duration::from_millis(millis))) }
    }
}

impl TryFrom<String> for HumanDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<HumanDuration> for String {
    fn from(duration: HumanDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, factor) in UNITS {
            if rest >= factor {
                write!(f, "{}{name}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("30s", 30_000), ("1h30m", 5_400_000), ("14d", 14 * 86_400_000)]
        {
            let duration: HumanDuration = text.parse().unwrap();
            assert_eq!(duration.as_millis(), millis);
            assert_eq!(duration.to_string(), text);
        }
        for text in ["", "5", "s", "-1s", "1.5s", "30m1h", "1s1s", "5 s", "99999999999999999d"] {
            assert!(text.parse::<HumanDuration>().is_err(), "{text}");
        }
    }
}
