use async_trait::async_trait;
use tidegate_model::{FairnessKey, Namespace, RunId, Timestamp, limits::QUEUE_LIMIT_PREFIX};
use tidegate_orchestration::{Arrival, Collision, Line, Rate};

use crate::{QueueKey, StoreError};

/// Which concurrency limit. Ordered as the adapters take the locks of limits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LimitKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

/// How the name of a template ends.
const TEMPLATE_END: &str = "=*";

impl LimitKey {
    /// True for a template, such as `customer=*`.
    pub fn is_template(&self) -> bool {
        self.name.ends_with(TEMPLATE_END)
    }

    /// The template that binds this name where it has no limit of its own: that of all before its first `=`.
    pub fn template(&self) -> Option<Self> {
        let (key, value) = self.name.split_once('=')?;
        let is_value = !key.is_empty() && !value.is_empty() && !self.is_template();
        is_value.then(|| Self { namespace: self.namespace.clone(), name: format!("{key}{TEMPLATE_END}") })
    }

    /// The queue whose limit it is; `None`: it is another.
    pub fn queue(&self) -> Option<QueueKey> {
        let name = self.name.strip_prefix(QUEUE_LIMIT_PREFIX)?.parse().ok()?;
        Some(QueueKey { namespace: self.namespace.clone(), name })
    }

    /// From the first of the names that it is about to before the one after the last: of a template all values.
    pub fn names(&self) -> (String, String) {
        match self.name.strip_suffix(TEMPLATE_END) {
            // The character after `=`.
            Some(key) => (format!("{key}="), format!("{key}>")),
            // No name has a control character.
            None => (self.name.clone(), format!("{}\u{1}", self.name)),
        }
    }
}

/// What a limit asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// How many slots it has; `None`: any number may be held.
    pub max_slots: Option<u32>,
    /// How many may start in a time; `None`: any number.
    pub rate: Option<Rate>,
    /// What becomes of a run that finds no slot.
    pub on_collision: Collision,
}

impl From<u32> for LimitSettings {
    /// Slots, and nothing else.
    fn from(max_slots: u32) -> Self {
        Self { max_slots: Some(max_slots), rate: None, on_collision: Collision::Wait }
    }
}

/// A concurrency limit that is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// Which.
    pub key: LimitKey,
    /// What it asks for.
    pub settings: LimitSettings,
    /// When it was defined.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A limit and how much of it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUse {
    /// The name that was asked for: of a template, the one that it binds.
    pub key: LimitKey,
    /// The limit: that of the name, or the template that binds it.
    pub limit: ConcurrencyLimit,
    /// Slots that are taken: more than there are where the limit was lowered, or defined late.
    pub n_used: u64,
    /// What is kept of its rate.
    pub arrival: Arrival,
    /// True: somebody waits for it.
    pub is_awaited: bool,
    /// True: somebody waits for a lease of several slots of it.
    pub awaits_several: bool,
}

impl LimitUse {
    /// Slots that may be taken; `u64::MAX` where their number is not limited.
    pub fn n_free(&self) -> u64 {
        let max_slots = self.limit.settings.max_slots;
        max_slots.map_or(u64::MAX, |max_slots| u64::from(max_slots).saturating_sub(self.n_used))
    }

    /// Starts that its rate allows at `now`; `u64::MAX` where it has none.
    pub fn n_tokens(&self, now: Timestamp) -> u64 {
        self.limit.settings.rate.map_or(u64::MAX, |rate| rate.n_free(self.arrival, now))
    }
}

/// Who could give way to a run that finds no slot of a limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// Runs that have a slot and were not asked to give way.
    pub unasked: Vec<RunId>,
    /// How many that were asked still have theirs.
    pub n_asked: u64,
    /// Runs that wait for a slot: no more than could have others asked are counted.
    pub n_waiting: u64,
    /// Of all runs that have a slot, asked or not, the one that was created last.
    pub newest: Option<RunId>,
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
    /// Of a lease: the run whose code took it, as it said.
    pub for_run: Option<RunId>,
    /// How many of the limit's slots it is: of a run 1.
    pub n_slots: u32,
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
    /// Whose it is: those of one priority are served in turn by key. Those without one take turns as one more key.
    pub fairness_key: Option<FairnessKey>,
    /// When it was due: of one key the earlier comes first.
    pub due_at: Timestamp,
}

/// What a run waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The run.
    pub run_id: RunId,
    /// The limit.
    pub limit: LimitKey,
    /// True: it is one of those that [`SlotTx::count_line`] counts as waiting or as being on their way.
    pub is_in_line: bool,
}

/// Who of those that wait for a limit is to be handed out.
#[derive(Clone, Copy, Debug)]
pub struct HandOut {
    /// How many slots the limit has; `None`: any number. As many are handed out as are free, less those that are on their
    /// way.
    pub max_slots: Option<u32>,
    /// The same for the tokens of its rate that are there.
    pub n_tokens: Option<u64>,
    /// As many more, since others that were handed out cannot use what they were handed out for.
    pub n_more: u64,
    /// As many more as came not in time for what was kept for them since [`Self::lapsed_since`], this many at most.
    pub max_lapsed: u64,
    /// Since when those count.
    pub lapsed_since: Timestamp,
    /// Those as well, after all others, that were handed out before this time: nothing is kept for them.
    pub handed_before: Option<Timestamp>,
    /// Now.
    pub now: Timestamp,
    /// Until when a slot or a token is kept for those that are handed out.
    pub reserved_until: Timestamp,
    /// How many at most.
    pub limit: usize,
}

/// Who wants slots by a lease and waits for them. One for each owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseWait {
    /// Who is to have them.
    pub owner: RunId,
    /// The limit that had none.
    pub limit: LimitKey,
    /// Since when: the earlier comes first, among runs as if it were due then.
    pub since: Timestamp,
    /// True: it was its turn since it began to wait for this limit.
    pub was_handed: bool,
    /// Until when it waits unless it is heard of.
    pub expires_at: Timestamp,
    /// How many slots it needs, and tokens. In line it counts as so many.
    pub n_slots: u32,
    /// Of one whose turn it is: until when what comes free is kept for it.
    pub reserved_until: Option<Timestamp>,
}

/// The rows of concurrency limits, and reads of their slots and of who waits for one.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait LimitRows: Send + Sync {
    /// Defines a limit, or changes what it asks for. Waits for claims under way that look at it. What a slower rate has
    /// left counts as far as the new one can leave it.
    async fn put_limit(
        &self,
        key: &LimitKey,
        settings: &LimitSettings,
        now: Timestamp,
    ) -> Result<ConcurrencyLimit, StoreError>;

    /// Takes a limit away; slots that are taken of it stay taken, and what its rate has left is forgotten: it does not
    /// count against a template that binds the name from then on. Waits for claims under way. False: there was none.
    async fn delete_limit(&self, key: &LimitKey) -> Result<bool, StoreError>;

    /// Those of these limits that are defined, or bound by a template, in any order, with what is taken at `now`.
    async fn get_limits(&self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError>;

    /// Up to `limit` limits of a namespace whose names come after `after`, by name.
    async fn list_limits(
        &self,
        namespace: &Namespace,
        after: Option<&str>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<LimitUse>, StoreError>;

    /// How many slots are taken at `now` of all that a template binds, and how many runs wait for them.
    async fn template_use(&self, key: &LimitKey, now: Timestamp) -> Result<(u64, u64), StoreError>;

    /// Up to `limit` slots that are taken of a limit at `now`, of a template those of all that it binds, the earliest
    /// first.
    async fn list_slots(&self, key: &LimitKey, now: Timestamp, limit: usize)
    -> Result<Vec<Slot>, StoreError>;

    /// How many runs wait for each of these limits, in their order.
    async fn count_waits(&self, keys: &[LimitKey]) -> Result<Vec<u64>, StoreError>;

    /// The first limit after `after`, by namespace and name, that a run waits for; defined or not.
    async fn next_awaited(&self, after: Option<&LimitKey>) -> Result<Option<LimitKey>, StoreError>;

    /// Notes those that wait for `key` and whose turn it is as handed out at `now`, and gives them: first those that were
    /// not since they began to wait, by priority; of one priority in turn by fairness key; of one key by due time. Leaves
    /// out rows that another transaction has locked, so two callers never get the same run, nor one more than there is
    /// room for. The cost follows how many are handed out, not how many wait. `None`: another hands out for this limit at
    /// the moment.
    async fn hand_out(&self, key: &LimitKey, ask: &HandOut) -> Result<Option<Vec<RunId>>, StoreError>;

    /// Has up to `limit` runs be in line again, where they were, that were handed out before a time and are lost since. Gives
    /// how many.
    async fn return_lost(
        &self,
        key: &LimitKey,
        handed_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// Until when at least something is kept for one of those that are on their way at `now`.
    async fn first_lapse(&self, key: &LimitKey, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Keeps nothing any more for those of these runs that were handed out at `handed_at`.
    async fn pass_over(&self, key: &LimitKey, runs: &[RunId], handed_at: Timestamp)
    -> Result<(), StoreError>;

    /// Frees up to `limit` slots that nobody has: of runs that nobody holds, and those whose lease has ended by `now`.
    async fn clear_slots(&self, now: Timestamp, limit: usize) -> Result<Vec<Slot>, StoreError>;

    /// Up to `limit` slots whose runs are to be asked to give way: each once, unless whoever got it died before it
    /// called [`Self::note_asked`].
    async fn slots_to_ask(&self, limit: usize) -> Result<Vec<Slot>, StoreError>;

    /// Their runs were asked.
    async fn note_asked(&self, slots: &[Slot]) -> Result<(), StoreError>;

    /// Extends the leases that `owner` has at `now` until `expires_at`. False: it has none, or has no longer.
    async fn renew_leases(
        &self,
        namespace: &Namespace,
        owner: RunId,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Those of these owners whose turn it is to take slots by a lease.
    async fn handed_leases(&self, owners: &[RunId]) -> Result<Vec<RunId>, StoreError>;

    /// Wakes those who follow commits, in all processes: it is somebody's turn to take slots by a lease.
    async fn tell_leases(&self);

    /// Forgets up to `limit` who wait for a lease and were not heard of until `now`. Gives how many.
    async fn purge_lease_waits(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;

    /// Forgets up to `limit` rates of which nothing is taken any more at `now`. Gives how many.
    async fn purge_rates(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;
}

/// What a transaction over runs does to slots. Runs are locked before limits.
#[async_trait]
pub trait SlotTx: Send {
    /// Locks those of these limits that are defined, and the templates that may bind them, in their order, and tells what
    /// is taken of them at `now`. Nobody else takes a slot or a token of them before the commit; that a slot is given up
    /// meanwhile is not seen.
    async fn lock_limits(&mut self, keys: &[LimitKey], now: Timestamp) -> Result<Vec<LimitUse>, StoreError>;

    /// Takes slots; one that its owner has already is renewed.
    async fn take_slots(&mut self, slots: &[Slot]) -> Result<(), StoreError>;

    /// Gives up all slots of these owners, and tells of which limits, once for each slot.
    async fn free_slots(&mut self, owners: &[RunId]) -> Result<Vec<LimitKey>, StoreError>;

    /// Has runs wait for slots of limits that this transaction has locked; one that waits already does so anew, and for
    /// this limit. A run keeps its turn where it waited for the same one; else its turn comes after that of all that wait
    /// with its key, and for the first with its key after one of each other key.
    async fn put_waits(&mut self, waits: &[SlotWait]) -> Result<(), StoreError>;

    /// These runs wait no longer. Gives for which limits they did. Those behind them that have their
    /// key move up.
    async fn end_waits(&mut self, runs: &[RunId]) -> Result<Vec<(RunId, LimitKey)>, StoreError>;

    /// So many were let through for those that came not in time since `lapsed_since`, of limits that this transaction has
    /// locked: for none of these again.
    async fn use_lapses(
        &mut self,
        lapses: &[(LimitKey, u64)],
        lapsed_since: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Locks what an owner has, and its wait for a lease.
    async fn lock_owner(&mut self, owner: RunId) -> Result<(Vec<Slot>, Option<LeaseWait>), StoreError>;

    /// Has an owner, which this transaction has locked, wait for a lease; one that waits already does so as it is given.
    /// False, and no change: a run waits under that id, or another namespace's owner.
    async fn put_lease_wait(&mut self, wait: &LeaseWait) -> Result<bool, StoreError>;

    /// An owner of this namespace waits for a lease no longer. Gives for which limit it did.
    async fn end_lease_wait(
        &mut self,
        namespace: &Namespace,
        owner: RunId,
    ) -> Result<Option<LimitKey>, StoreError>;

    /// Who is in line for these limits, which this transaction has locked, in the order of `keys`: those that wait and
    /// were not handed out, those that are on their way, and those that came not in time since `lapsed_since`. Of each
    /// kind up to `limit` are counted, and `but` is left out. A lease counts as the slots that it needs.
    async fn count_line(
        &mut self,
        keys: &[LimitKey],
        but: Option<RunId>,
        lapsed_since: Timestamp,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<Line>, StoreError>;

    /// For which limits these runs, which this transaction has locked, wait; those that do not are left out.
    async fn awaited_by(&mut self, runs: &[RunId], now: Timestamp) -> Result<Vec<Awaited>, StoreError>;

    /// Keeps what was taken of the rates of limits that this transaction has locked.
    async fn put_arrivals(&mut self, arrivals: &[(LimitKey, Arrival)]) -> Result<(), StoreError>;

    /// Who could give way where a limit, which this transaction has locked, has no slot: up to `limit` of the runs that
    /// have one, those that were created last first with `newest_first`, else those that have had it longest.
    async fn find_holders(
        &mut self,
        key: &LimitKey,
        newest_first: bool,
        limit: usize,
    ) -> Result<Holders, StoreError>;

    /// Notes that the runs that have these slots, of limits that this transaction has locked, are to be asked to give
    /// way. Those that were are not again.
    async fn ask_slots(&mut self, slots: &[(LimitKey, RunId)]) -> Result<(), StoreError>;
}
