use std::{borrow::Cow, collections::BTreeMap};

use tidegate_model::Timestamp;

use super::{LogBatch, LogLine, SeqSet};
use crate::adapter;

/// The day of storing: days since 1970-01-01, UTC.
pub fn day_of(time: Timestamp) -> i32 {
    const MICROS_OF_A_DAY: i64 = 86_400_000_000;
    i32::try_from(time.as_micros().div_euclid(MICROS_OF_A_DAY)).unwrap_or(i32::MAX)
}

/// The writers of some batches with what they have stored, by namespace and name: in the order in which all
/// adapters lock them.
#[derive(Debug)]
pub struct Writers<'a>(BTreeMap<(&'a str, Cow<'a, str>), SeqSet>);

impl<'a> Writers<'a> {
    /// The writers of `batches`, with nothing stored yet.
    pub fn of(batches: &'a [LogBatch]) -> Self {
        Self(batches.iter().map(|batch| (key(batch), SeqSet::default())).collect())
    }

    /// Puts in what the database has for a writer.
    pub fn set(&mut self, namespace: &str, writer: &str, stored: SeqSet) {
        // Found by comparing: a key borrowed from a row cannot be looked up among keys borrowed from batches.
        let entry = self.0.iter_mut().find(|((ns, name), _)| *ns == namespace && name == writer);
        if let Some((_, set)) = entry {
            *set = stored;
        }
    }

    /// The lines that are not stored yet, with their namespaces; from now on they are.
    pub fn take_new(&mut self, batches: &'a [LogBatch]) -> Vec<(&'a str, &'a LogLine)> {
        let mut new = Vec::new();
        for batch in batches {
            let stored = self.0.entry(key(batch)).or_default();
            new.extend(
                batch
                    .lines
                    .iter()
                    .filter(|line| stored.insert(line.seq))
                    .map(|line| (batch.namespace.as_str(), line)),
            );
        }
        new
    }

    /// Namespace, name and what is stored.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, &SeqSet)> {
        self.0.iter().map(|((namespace, writer), stored)| (*namespace, &**writer, stored))
    }
}

fn key(batch: &LogBatch) -> (&str, Cow<'_, str>) {
    (batch.namespace.as_str(), adapter::text(&batch.writer))
}
