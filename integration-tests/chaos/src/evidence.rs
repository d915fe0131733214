use std::collections::{BTreeMap, HashMap};

use tidegate_sdk::proto::{ConcurrencyLimit, Run, RunEvent};

use crate::{
    keeper::Incident,
    load::Calls,
    logs::LogLine,
    record::Record,
    script::Fault,
    time::{self, Time},
};

/// A fault as it was carried out.
#[derive(Clone, Debug)]
pub(crate) struct Happened {
    pub fault: Fault,
    pub from: Time,
    /// When its part served again.
    pub until: Time,
    /// Of the process that was hit.
    pub pid: Option<u32>,
}

/// Everything that the judge looks at.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// Key → the ids that its calls were answered with.
    pub accepted: BTreeMap<String, Vec<String>>,
    pub calls: Calls,
    pub runs: HashMap<String, Run>,
    pub histories: HashMap<String, Vec<RunEvent>>,
    /// What the recorder saw, by key, in the order of time.
    pub records: HashMap<String, Vec<Record>>,
    pub faults: Vec<Happened>,
    /// The concurrency limits as they are at the end.
    pub limits: Vec<ConcurrencyLimit>,
    /// Keys in Redis that still hold runs.
    pub leftovers: Vec<String>,
    pub errors: Vec<LogLine>,
    pub incidents: Vec<Incident>,
}

impl Evidence {
    /// Reads the recorder's file.
    pub fn records_of(file: &str) -> anyhow::Result<HashMap<String, Vec<Record>>> {
        let mut records: HashMap<String, Vec<Record>> = HashMap::new();
        for line in file.lines() {
            let record: Record = line.parse()?;
            records.entry(record.key.clone()).or_default().push(record);
        }
        for of_key in records.values_mut() {
            of_key.sort_by_key(|record| record.at);
        }
        Ok(records)
    }

    /// Of the run that the calls with the key were answered with.
    pub fn history_of(&self, key: &str) -> &[RunEvent] {
        let run_id = self.accepted.get(key).and_then(|run_ids| run_ids.first());
        run_id.and_then(|run_id| self.histories.get(run_id)).map_or(&[], Vec::as_slice)
    }

    /// When the run ended, where it has.
    pub fn ended_at(run: &Run) -> Option<Time> {
        run.ended_at.as_ref().map(|at| time::of_parts(at.seconds, at.nanos))
    }

    /// When the run was created.
    pub fn created_at(run: &Run) -> Option<Time> {
        run.created_at.as_ref().map(|at| time::of_parts(at.seconds, at.nanos))
    }
}
