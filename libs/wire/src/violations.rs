use std::{fmt::Display, str::FromStr};

use tidegate_model::{FieldViolation, limits};

/// Characters of a wrong text that are repeated to its sender.
const MAX_SHOWN: usize = 80;

/// The faults of a request, gathered so that the caller learns all of them at once.
#[derive(Debug, Default)]
pub struct Violations {
    prefix: String,
    found: Vec<FieldViolation>,
}

impl Violations {
    /// Faults below a path: `runs[3].`.
    pub fn below(prefix: impl Into<String>) -> Self {
        Self { prefix: prefix.into(), found: Vec::new() }
    }

    /// Notes a fault.
    pub fn add(&mut self, field: &str, description: impl Into<String>) {
        self.found.push(FieldViolation {
            field: format!("{}{field}", self.prefix),
            description: description.into(),
        });
    }

    /// Parses a text, or notes why it does not parse.
    pub fn parse<T: FromStr<Err: Display>>(&mut self, field: &str, text: &str) -> Option<T> {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.add(field, error.to_string());
                None
            }
        }
    }

    /// Notes a text that is too short or too long, or that has control characters.
    pub fn text(&mut self, field: &str, text: &str, least: usize, most: usize) {
        if (least..=most).contains(&text.len()) && !text.chars().any(char::is_control) {
            return;
        }
        let shown: String = text.chars().take(MAX_SHOWN).collect();
        self.add(
            field,
            format!(
                "{shown:?} has {} bytes; {least} to {most} without control characters are allowed",
                text.len()
            ),
        );
    }

    /// Notes the name of a concurrency limit that nobody may use, or that is none.
    pub fn limit_name(&mut self, field: &str, name: &str) {
        self.text(field, name, 1, limits::MAX_CONCURRENCY_LIMIT_SIZE);
        if let Some(queue) = name.strip_prefix(limits::QUEUE_LIMIT_PREFIX) {
            let queue: String = queue.chars().take(MAX_SHOWN).collect();
            let prefix = limits::QUEUE_LIMIT_PREFIX;
            self.add(
                field,
                format!("names that begin with `{prefix}` are those of queues: set the slots of queue `{queue}` instead"),
            );
        }
        if let Some(pool) = name.strip_prefix(limits::WORK_POOL_LIMIT_PREFIX) {
            let pool: String = pool.chars().take(MAX_SHOWN).collect();
            let prefix = limits::WORK_POOL_LIMIT_PREFIX;
            self.add(
                field,
                format!(
                    "names that begin with `{prefix}` are those of work pools: set `max_slots` of work pool `{pool}` \
                     instead"
                ),
            );
        }
        if let Some(deployment) = name.strip_prefix(limits::DEPLOYMENT_LIMIT_PREFIX) {
            let deployment: String = deployment.chars().take(MAX_SHOWN).collect();
            let prefix = limits::DEPLOYMENT_LIMIT_PREFIX;
            self.add(
                field,
                format!(
                    "names that begin with `{prefix}` are those of deployments: set `max_concurrent_runs` of deployment \
                     `{deployment}` instead"
                ),
            );
        }
        if let Some(schedule) = name.strip_prefix(limits::SCHEDULE_LIMIT_PREFIX) {
            let schedule: String = schedule.chars().take(MAX_SHOWN).collect();
            let prefix = limits::SCHEDULE_LIMIT_PREFIX;
            self.add(
                field,
                format!(
                    "names that begin with `{prefix}` are those of schedules: set `overlap` of schedule `{schedule}` instead"
                ),
            );
        }
    }

    /// Notes a list that is too long.
    pub fn count(&mut self, field: &str, n_items: usize, most: usize) {
        if n_items > most {
            self.add(field, format!("has {n_items} entries; at most {most} are allowed"));
        }
    }

    /// Notes what others have noted.
    pub fn extend(&mut self, others: Self) {
        self.found.extend(others.found);
    }

    /// True when nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All faults.
    pub fn into_vec(self) -> Vec<FieldViolation> {
        self.found
    }
}
