use std::fmt;

/// What is wrong with a timetable, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The field, as `tidegate.v1.ScheduleSpec` has it: `cron.expression`.
    pub field: &'static str,
    /// The value, the cause and the mend, for people.
    pub description: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, description: impl Into<String>) -> Self {
        Self { field, description: description.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.description)
    }
}

impl std::error::Error for Invalid {}
