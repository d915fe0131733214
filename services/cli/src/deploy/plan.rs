//! What a file changes: compared field by field, before anything is done.

use serde_json::Value as Json;
use tidegate_proto::v1::{Deployment, Schedule};
use tidegate_sdk_core::ScheduleWrite;

use super::{
    fields::{Fields, of_deployment, of_schedule},
    spec::Wanted,
};

/// What becomes of a deployment or a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is made.
    New,
    /// It is there, and says something else.
    Changed,
    /// It is there, and says the same.
    Unchanged,
    /// It is there, and the file does not name it.
    Left,
    /// It is there, the file does not name it, and such are to go.
    Deleted,
}

impl Change {
    fn is_one(self) -> bool {
        !matches!(self, Self::Unchanged | Self::Left)
    }
}

/// One field that is not the same before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldChange {
    /// Its key in the file.
    pub key: &'static str,
    /// What it was; null: it was not said.
    pub old: Json,
    /// What it becomes; null: it is not said.
    pub new: Json,
}

/// What becomes of one schedule.
pub struct SchedulePlan {
    /// Its name within the deployment.
    pub name: String,
    /// What becomes of it.
    pub change: Change,
    /// What is not the same.
    pub fields: Vec<FieldChange>,
    /// Of the state that it was compared with. Empty: it is new.
    pub etag: String,
}

/// What becomes of one deployment.
pub struct Plan {
    /// What the file says.
    pub wanted: Wanted,
    /// What becomes of it; its schedules are told apart.
    pub change: Change,
    /// Its version before. 0: it is new.
    pub version: u64,
    /// Of the state that it was compared with. Empty: it is new.
    pub etag: String,
    /// What is not the same.
    pub fields: Vec<FieldChange>,
    /// Its schedules: those of the file in its order, then those that it does not name.
    pub schedules: Vec<SchedulePlan>,
}

impl Plan {
    /// Compares what the file says with what is there.
    pub fn new(wanted: Wanted, deployment: Option<&Deployment>, there: &[Schedule], prunes: bool) -> Self {
        let before = deployment.map(|deployment| of_deployment(&deployment.spec.clone().unwrap_or_default()));
        let (change, fields) = compare(before, of_deployment(&wanted.spec));
        let named = wanted.schedules.iter().map(|schedule| {
            let before = there.iter().find(|known| known.name == schedule.name);
            let etag = before.map(|known| known.etag.clone()).unwrap_or_default();
            let before = before.map(|known| of_schedule(&known.spec.clone().unwrap_or_default()));
            let (change, fields) = compare(before, of_schedule(&schedule.spec));
            SchedulePlan { name: schedule.name.clone(), change, fields, etag }
        });
        let is_named =
            |known: &&Schedule| wanted.schedules.iter().any(|schedule| schedule.name == known.name);
        let change_of_rest = if prunes { Change::Deleted } else { Change::Left };
        let rest = there.iter().filter(|known| !is_named(known)).map(|known| SchedulePlan {
            name: known.name.clone(),
            change: change_of_rest,
            fields: Vec::new(),
            etag: known.etag.clone(),
        });
        let schedules = named.chain(rest).collect();
        let (version, etag) = deployment.map(|known| (known.version, known.etag.clone())).unwrap_or_default();
        Self { change, version, etag, fields, schedules, wanted }
    }

    /// Whether anything is not as the file says.
    pub fn changes(&self) -> bool {
        self.change.is_one() || self.changes_schedules()
    }

    /// What is to be done to its schedules, each as it was compared. New ones come first: no time is missed where one takes the
    /// place of another.
    pub fn writes(&self) -> Vec<ScheduleWrite> {
        let writes = self.schedules.iter().filter(|schedule| schedule.change.is_one()).filter_map(|plan| {
            let (name, etag) = (plan.name.clone(), plan.etag.clone());
            if plan.change == Change::Deleted {
                return Some(ScheduleWrite::Delete { name, etag });
            }
            let schedule = self.wanted.schedules.iter().find(|schedule| schedule.name == name)?.clone();
            Some(ScheduleWrite::Put { schedule: Box::new(schedule), etag })
        });
        writes.collect()
    }

    /// Of the schedules that are to be changed, the first that is not as it was compared any more. One that was to go and has
    /// gone is as it is to be.
    pub fn changed_meanwhile(&self, there: &[Schedule]) -> Option<&str> {
        let etag_of = |name: &str| {
            there.iter().find(|known| known.name == name).map_or("", |known| known.etag.as_str())
        };
        let changed = self.schedules.iter().filter(|plan| plan.change.is_one()).find(|plan| {
            let etag = etag_of(&plan.name);
            etag != plan.etag && !(etag.is_empty() && plan.change == Change::Deleted)
        });
        changed.map(|plan| plan.name.as_str())
    }

    /// Whether any of its schedules is not as the file says.
    pub fn changes_schedules(&self) -> bool {
        self.schedules.iter().any(|schedule| schedule.change.is_one())
    }
}

fn compare(before: Option<Fields>, after: Fields) -> (Change, Vec<FieldChange>) {
    let is_new = before.is_none();
    let before = before.unwrap_or_default();
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let value = |fields: &Fields, key| fields.get(key).cloned().unwrap_or_default();
    let fields: Vec<FieldChange> = keys
        .into_iter()
        .map(|key| FieldChange { key, old: value(&before, key), new: value(&after, key) })
        .filter(|field| field.old != field.new)
        .collect();
    let change = match (is_new, fields.is_empty()) {
        (true, _) => Change::New,
        (false, true) => Change::Unchanged,
        (false, false) => Change::Changed,
    };
    (change, fields)
}
