use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use tidegate_model::{AutomationName, AutomationRevision, Namespace, RunId, Timestamp};
use tidegate_orchestration::{StateName, StateType};

use crate::StoreError;

/// Which automation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AutomationKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: AutomationName,
}

/// What is done when something happens to a run.
#[derive(Clone, PartialEq, Eq)]
pub struct Automation {
    /// Which.
    pub key: AutomationKey,
    /// What it is for.
    pub description: String,
    /// What sets it off.
    pub trigger: Trigger,
    /// What is done: the encoded message `tidegate.v1.Webhook`. It has secrets.
    pub action: Bytes,
    /// Nothing sets it off, and its firings wait.
    pub is_paused: bool,
    /// How it went so far.
    pub record: AutomationRecord,
    /// New with every change of what was set.
    pub revision: AutomationRevision,
    /// When it was made.
    pub created_at: Timestamp,
    /// When what was set was last changed.
    pub updated_at: Timestamp,
}

/// Without the action, which has secrets.
impl fmt::Debug for Automation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, description, trigger, action, is_paused, record, revision, created_at, updated_at } =
            self;
        f.debug_struct("Automation")
            .field("key", key)
            .field("description", description)
            .field("trigger", trigger)
            .field("action", &format_args!("<{} bytes>", action.len()))
            .field("is_paused", is_paused)
            .field("record", record)
            .field("revision", revision)
            .field("created_at", created_at)
            .field("updated_at", updated_at)
            .finish()
    }
}

/// What sets an automation off: an event that enters one of the types of states, or one of the names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// Types of states.
    pub states: Vec<StateType>,
    /// Names of states.
    pub state_names: Vec<StateName>,
    /// Only runs for which it holds, in the language of `tidegate-filter`; empty: all. A store does not look into it.
    pub filter: String,
    /// Also an event of a terminal type with which the run has not come to its end.
    pub each_attempt: bool,
}

/// How an automation went so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutomationRecord {
    /// How many firings succeeded.
    pub n_succeeded: u64,
    /// How many were given up.
    pub n_given_up: u64,
    /// What the last try that failed failed of, where none has succeeded since.
    pub last_error: String,
    /// When one last succeeded.
    pub last_succeeded_at: Option<Timestamp>,
}

/// Which firing: an automation is set off once by an event.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiringKey {
    /// The automation.
    pub automation: AutomationKey,
    /// The run that set it off.
    pub run_id: RunId,
    /// The number of the event in its history.
    pub seq: u64,
}

/// An automation that was set off and is still to be carried out, or was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// Which.
    pub key: FiringKey,
    /// The type of the state that the run entered.
    pub state_type: StateType,
    /// Its name.
    pub state_name: StateName,
    /// Its message.
    pub message: String,
    /// When it was entered.
    pub at: Timestamp,
    /// The attempts started by then.
    pub attempt: u32,
    /// True when the run came to its end with it.
    pub ended: bool,
    /// How often it was taken.
    pub n_tries: u32,
    /// What the last try failed of; empty: none has.
    pub last_error: String,
    /// When it is to be taken next. Of one that was given up: when that was.
    pub due_at: Timestamp,
    /// True: it is taken no more, and only shown.
    pub is_given_up: bool,
}

/// What the filter says of a firing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilteredFiring {
    /// Which.
    pub key: FiringKey,
    /// When its event was. Another time: another run with the same id has set the automation off since.
    pub at: Timestamp,
    /// True: it is to be carried out.
    pub is_kept: bool,
}

/// Which firings may be taken.
#[derive(Clone, Debug)]
pub struct FiringQuery {
    /// Those that are due by then, and whose automation is not paused.
    pub now: Timestamp,
    /// Until when those taken are left to the caller: they are due again then.
    pub until: Timestamp,
    /// How many at most.
    pub limit: usize,
    /// How many at most of one automation.
    pub limit_each: usize,
    /// None of these automations.
    pub except: Vec<AutomationKey>,
}

/// What has become of a firing that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FiringOutcome {
    /// It was carried out: it goes, and its automation's record says so.
    Succeeded,
    /// It is not to be carried out after all: it goes, and nothing is said of it.
    Dropped,
    /// It is to be tried again. The record has the error.
    Failed {
        /// What it failed of.
        error: String,
        /// When it is due again.
        due_at: Timestamp,
    },
    /// It is tried no more. The record counts it, and has the error.
    GivenUp {
        /// What it failed of.
        error: String,
    },
}

/// Reads of automations.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait AutomationRows: Send + Sync {
    /// An automation.
    async fn get_automation(&self, key: &AutomationKey) -> Result<Option<Automation>, StoreError>;

    /// Up to `limit` automations of a namespace by name, with names after `after`.
    async fn list_automations(
        &self,
        namespace: &Namespace,
        after: Option<&AutomationName>,
        limit: usize,
    ) -> Result<Vec<Automation>, StoreError>;

    /// Up to `limit` firings of an automation by run and number, after `after`; those that were given up among them.
    async fn list_firings(
        &self,
        key: &AutomationKey,
        after: Option<(RunId, u64)>,
        limit: usize,
    ) -> Result<Vec<Firing>, StoreError>;

    /// Up to `limit` firings, of all automations, of which the filter is still to be asked: those of the oldest events.
    async fn firings_to_filter(&self, limit: usize) -> Result<Vec<Firing>, StoreError>;
}

/// What a transaction does to automations. That an event sets one off is done by `RunTx::append_events`, in the same
/// transaction: there is a firing then, due at once, for each automation of the namespace that is not paused and whose
/// trigger has the type or the name of the state, and `each_attempt` or an event that is no end of an attempt alone. Where the
/// trigger has a filter, nobody takes the firing before [`AutomationTx::filter_firings`] keeps it.
#[async_trait]
pub trait AutomationTx: Send {
    /// Locks an automation for a change, and reads it.
    async fn lock_automation(&mut self, key: &AutomationKey) -> Result<Option<Automation>, StoreError>;

    /// How many automations a namespace has, counted up to `limit`.
    async fn count_automations(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError>;

    /// Makes an automation. False: somebody else has made it meanwhile.
    async fn insert_automation(&mut self, automation: &Automation) -> Result<bool, StoreError>;

    /// Writes a locked automation, but for its record and when it was made.
    async fn update_automation(&mut self, automation: &Automation) -> Result<(), StoreError>;

    /// Deletes up to `limit` firings of a locked automation. Gives how many.
    async fn clear_firings(&mut self, key: &AutomationKey, limit: usize) -> Result<usize, StoreError>;

    /// Takes a locked automation away, with its firings.
    async fn delete_automation(&mut self, key: &AutomationKey) -> Result<(), StoreError>;

    /// Keeps firings of which the filter was still to be asked, so that they may be taken, or deletes them; leaving out rows
    /// that another transaction has locked. Each is given once. One that is gone, or that somebody has kept already, is
    /// left alone.
    async fn filter_firings(&mut self, filtered: &[FilteredFiring]) -> Result<(), StoreError>;

    /// Takes firings, those that are due longest first, leaving out rows that another transaction has locked: each counts
    /// as tried once more, and is due again at `until`. A firing of an automation that is gone is deleted instead.
    async fn take_firings(&mut self, query: &FiringQuery) -> Result<Vec<Firing>, StoreError>;

    /// Writes what has become of firings that were taken, each of which is given once, at `now`; one that is gone, was taken
    /// again since (it has other `n_tries`) or was given up is left alone. Of several of one automation, the record has the
    /// error of the last.
    async fn finish_firings(
        &mut self,
        finished: &[(FiringKey, u32, FiringOutcome)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Pauses the automations that have more than `most` firings, those that were given up among them, and has their records
    /// say `error`; leaving out what another transaction has locked. Gives which.
    async fn pause_crowded(&mut self, most: usize, error: &str) -> Result<Vec<AutomationKey>, StoreError>;

    /// Deletes up to `limit` firings that were given up before `given_up_before`. Gives how many.
    async fn purge_firings(&mut self, given_up_before: Timestamp, limit: usize) -> Result<usize, StoreError>;
}
