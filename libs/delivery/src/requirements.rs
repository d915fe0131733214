use std::{collections::BTreeMap, fmt, sync::Arc};

/// Keys and values that tell a worker from others.
pub type Labels = BTreeMap<String, String>;

/// The labels that a worker must have to take a run. Runs with different requirements wait apart from each other, so that
/// those that nobody can take stand before nobody.
///
/// Cheap to clone.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requirements(Option<Arc<str>>);

impl Requirements {
    /// These labels. Neither keys nor values contain control characters, and keys no `=`.
    pub fn new(labels: &Labels) -> Self {
        let lines: Vec<String> = labels.iter().map(|(key, value)| line(key, value)).collect();
        Self::from_text(&lines.join("\n"))
    }

    /// What [`Requirements::as_str`] has given.
    pub fn from_text(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }

    /// `key=value`, a line each, in the order of the keys: equal requirements have equal texts. Empty: none.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The first line: adapters look for requirements by it, so that a worker does not meet those of which it has not even
    /// the first.
    pub fn first_line(&self) -> Option<&str> {
        self.as_str().lines().next()
    }

    /// True where a worker with these labels may take the run.
    pub fn are_met_by(&self, labels: &Labels) -> bool {
        self.as_str().lines().all(|line| {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            labels.get(key).is_some_and(|label| label == value)
        })
    }
}

/// A label as requirements have it.
pub fn line(key: &str, value: &str) -> String {
    format!("{key}={value}")
}

impl fmt::Debug for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(labels: &[(&str, &str)]) -> Labels {
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn all_of_them_must_be_there_with_their_values() {
        let required = Requirements::new(&labels(&[("zone", "a=b"), ("gpu", "true"), ("empty", "")]));
        assert_eq!(required.as_str(), "empty=\ngpu=true\nzone=a=b");
        let mut worker = labels(&[("zone", "a=b"), ("gpu", "true"), ("empty", ""), ("more", "x")]);
        assert!(required.are_met_by(&worker));
        worker.insert("gpu".to_owned(), "false".to_owned());
        assert!(!required.are_met_by(&worker));
        worker.remove("gpu");
        assert!(!required.are_met_by(&worker));
        assert!(Requirements::default().are_met_by(&worker));
        assert_eq!(Requirements::new(&Labels::new()), Requirements::default());
    }
}
