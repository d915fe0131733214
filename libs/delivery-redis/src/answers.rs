//! What the scripts and commands answer, read.

use std::time::Duration;

use tidegate_delivery::{Entry, EntryId, Error, Function, QueueId, Requirements, Taken, Turns};
use tidegate_model::{Epoch, Timestamp};
use tracing::warn;

use crate::{codec, connection::unavailable};

/// What is found of a run.
pub(crate) struct Found {
    pub(crate) time: (i64, i64),
    pub(crate) holder: Option<Vec<u8>>,
    pub(crate) expiry: Option<f64>,
    pub(crate) is_claimed: bool,
    /// Of its group, for a ready one.
    pub(crate) n_before: Option<u64>,
    pub(crate) due: Option<f64>,
    pub(crate) n_delayed_before: Option<u64>,
    n_keyless: u64,
    n_keyed: Option<u64>,
    n_in_group: u64,
    n_groups: u64,
    n_groups_before: Option<u64>,
    pub(crate) hindrance: Option<String>,
}

impl Found {
    /// From the answers in the order of the questions.
    pub(crate) fn read(answers: Vec<redis::Value>) -> Option<Self> {
        let mut answers = answers.into_iter();
        Some(Self {
            time: read_next(&mut answers)?,
            holder: read_next(&mut answers)?,
            expiry: read_next(&mut answers)?,
            is_claimed: read_next(&mut answers)?,
            n_before: read_next(&mut answers)?,
            due: read_next(&mut answers)?,
            n_delayed_before: read_next(&mut answers)?,
            n_keyless: read_next(&mut answers)?,
            n_keyed: read_next(&mut answers)?,
            n_in_group: read_next(&mut answers)?,
            n_groups: read_next(&mut answers)?,
            n_groups_before: read_next(&mut answers)?,
            hindrance: read_next(&mut answers)?,
        })
    }

    pub(crate) fn n_ready(&self) -> u64 {
        self.n_keyless + self.n_keyed.unwrap_or(0)
    }

    pub(crate) fn lane(&self) -> Turns {
        Turns {
            n_before: self.n_before.unwrap_or(0),
            n_of_others: self.n_ready().saturating_sub(self.n_in_group),
            n_groups: self.n_groups + u64::from(self.n_keyless > 0),
            n_groups_before: self.n_groups_before.unwrap_or(0),
        }
    }
}

/// Reads the answer of `take.lua`. None where it does not hold what it must.
pub(crate) fn read_taken(
    queue: &QueueId,
    lanes: &[(Function, Requirements)],
    answer: Vec<redis::Value>,
) -> Option<Taken> {
    const VALUES_PER_ENTRY: usize = 7;
    let mut values = answer.into_iter();
    let wait: i64 = read_next(&mut values)?;
    let mut taken =
        Taken { entries: Vec::new(), next_in: u64::try_from(wait).ok().map(Duration::from_millis) };
    while values.len() > 0 {
        if values.len() < VALUES_PER_ENTRY {
            return None;
        }
        match read_entry(queue, lanes, values.by_ref().take(VALUES_PER_ENTRY)) {
            Some(entry) => taken.entries.push(entry),
            None => warn!(
                queue.name = %queue,
                "an entry of queue {queue} in Redis is none that this version reads, it is dropped: the store has its \
                 run delivered again",
            ),
        }
    }
    Some(taken)
}

fn read_entry(
    queue: &QueueId,
    lanes: &[(Function, Requirements)],
    mut values: impl Iterator<Item = redis::Value>,
) -> Option<Entry> {
    let number: usize = read_next(&mut values)?;
    let (function, requires) = lanes.get(number.checked_sub(1)?)?;
    let run_id: Vec<u8> = read_next(&mut values)?;
    let epoch: u64 = read_next(&mut values)?;
    let priority: i32 = read_next(&mut values)?;
    let due_at_millis: i64 = read_next(&mut values)?;
    let fairness_key: String = read_next(&mut values)?;
    let prefers: String = read_next(&mut values)?;
    let id = EntryId {
        queue: queue.clone(),
        function: function.clone(),
        requires: requires.clone(),
        fairness_key: unless_empty(&fairness_key)?,
        run_id: codec::run_id(&run_id)?,
        epoch: Epoch(epoch),
    };
    let due_at = Timestamp::from_micros(due_at_millis.saturating_mul(1_000));
    Some(Entry { id, priority, due_at, prefers: unless_empty(&prefers)? })
}

pub(crate) fn read_next<T: redis::FromRedisValue>(
    values: &mut impl Iterator<Item = redis::Value>,
) -> Option<T> {
    redis::from_redis_value(values.next()?).ok()
}

/// A name that may be missing. None: it is no name.
fn unless_empty<T: std::str::FromStr>(text: &str) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

pub(crate) fn unreadable(operation: &'static str) -> Error {
    let kind = std::io::ErrorKind::InvalidData;
    unavailable(operation, std::io::Error::new(kind, "the keys hold something else: is the prefix shared?"))
}
