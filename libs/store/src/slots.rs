use async_trait::async_trait;
use tidegate_model::{Namespace, RunId, Timestamp};

use crate::StoreError;

/// Which concurrency limit. Ordered as the adapters take the locks of limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

/// A concurrency limit that is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// Which.
    pub key: LimitKey,
    /// How many slots it has.
    pub max_slots: u32,
    /// When it was defined.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A limit and how many of its slots are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// The limit.
    pub limit: ConcurrencyLimit,
    /// Slots that are taken: more than there are where the limit was lowered, or defined late.
    pub n_used: u64,
}

impl LimitUse {
    /// Slots that may be taken.
    pub fn n_free(&self) -> u64 {
        u64::from(self.limit.max_slots).saturating_sub(self.n_used)
    }
}

/// A slot that is taken. One for each (limit, owner), whether or not the limit is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Of which limit.
    pub limit: LimitKey,
    /// Who has it: a run, or whoever took it by a lease.
    pub owner: RunId,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Until when an owner that is no run has it; `None`: a run has it, as long as somebody holds that.
    pub expires_at: Option<Timestamp>,
}

/// A run that waits for a slot. One for each run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotWait {
    /// The run.
    pub run_id: RunId,
    /// The limit that had none for it.
    pub limit: LimitKey,
    /// Its priority: the larger comes first.
    pub priority: i32,
    /// When it was due: the earlier comes first.
    pub due_at: Timestamp,
}

/// The rows of concurrency limits, and reads of their slots and of who waits for one.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait LimitRows: Send + Sync {
    /// Defines a limit, or changes how many slots it has. Waits for claims under way that look at it.
    async fn put_limit(
        &self,
        key: &LimitKey,
        max_slots: u32,
        now: Timestamp,
    ) -> Result<ConcurrencyLimit, StoreError>;

    /// Takes a limit away; what is taken of it stays taken. False: there was none.
    async fn delete_limit(&self, key: &LimitKey) -> Result<bool, StoreError>;

    /// Those of these limits that are defined, in any order, with what is taken of them at `now`.
    async fn get_limits(&self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError>;

    /// Up to `limit` limits of a namespace whose names come after `after`, by name.
    async fn list_limits(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<LimitUse>, StoreError>;

    /// Up to `limit` slots that are taken of a limit at `now`, the earliest first.
    async fn list_slots(&self, key: &LimitKey, now: Timestamp, limit: usize)
    -> Result<Vec<Slot>, StoreError>;

    /// How many runs wait for each of these limits, in their order.
    async fn count_waits(&self, keys: &[LimitKey]) -> Result<Vec<u64>, StoreError>;

    /// The first limit after `after`, by namespace and name, that a run waits for; defined or not.
    async fn next_awaited(&self, after: Option<&LimitKey>) -> Result<Option<LimitKey>, StoreError>;

    /// Notes up to `limit` runs that wait for `key` as handed over at `now`, and gives them: those that were not handed
    /// over since they began to wait, by priority and due time; and with `handed_before`, after them, those that were
    /// before that. Leaves out rows that another transaction has locked, so two callers never get the same run.
    async fn hand_out(
        &self,
        key: &LimitKey,
        handed_before: Option<Timestamp>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError>;

    /// Frees up to `limit` slots that nobody has: of runs that nobody holds, and those whose lease has ended by `now`.
    async fn clear_slots(&self, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError>;
}

/// What a transaction over runs does to slots. Runs are locked before limits.
#[async_trait]
pub trait SlotTx: Send {
    /// Locks those of these limits that are defined, in their order, and tells what is taken of them at `now`. Nobody
    /// else takes a slot of them before the commit; that one is given up meanwhile is not seen.
    async fn lock_limits(&mut self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError>;

    /// Takes slots; one that its owner has already is renewed.
    async fn take_slots(&mut self, slots: &[Slot]) -> Result<(), StoreError>;

    /// Gives up all slots of these owners, and tells of which limits, once for each slot.
    async fn free_slots(&mut self, owners: &[RunId]) -> Result<Vec<LimitKey>, StoreError>;

    /// Has runs wait for slots; one that waits already does so anew, and for this limit.
    async fn put_waits(&mut self, waits: &[SlotWait]) -> Result<(), StoreError>;

    /// These runs wait no longer.
    async fn end_waits(&mut self, runs: &[RunId]) -> Result<(), StoreError>;
}
