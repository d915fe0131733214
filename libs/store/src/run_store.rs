use std::collections::BTreeSet;

use async_trait::async_trait;
use tidegate_model::{BulkOperationId, Epoch, Namespace, ObjectId, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Failure, Run};
use tokio::sync::watch;

use crate::{
    ArtifactRows, ArtifactTx, AutomationRows, AutomationTx, Below, BulkOperation, BulkPlace, CacheEntry,
    Count, CountQuery, DeploymentRows, DeploymentTx, EventRow, FeedCursor, FeedEvent, InputQuery, KeyOwner,
    KeyReservation, KeyUse, LimitRows, ListQuery, Maintained, NewRun, ObjectRow, ObjectRows, QueueRows,
    QueueTx, RunDetail, RunInput, ScheduleRows, ScheduleTx, Selection, Session, SlotTx, StoreError, Sweep,
    VariableRows, VariableTx, WorkPoolRows, WorkPoolTx,
};

/// Storage of runs. Every read is by namespace, but for those that serve the system itself.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait RunStore:
    ObjectRows
    + LimitRows
    + QueueRows
    + DeploymentRows
    + WorkPoolRows
    + ScheduleRows
    + ArtifactRows
    + VariableRows
    + AutomationRows
    + Send
    + Sync
    + 'static
{
    /// Begins a transaction. Dropping it without a commit undoes everything.
    async fn begin(&self) -> Result<Box<dyn RunTx>, StoreError>;

    /// Begins a transaction that claims runs of these namespaces. Until its end no queue of theirs changes; it waits for
    /// a change under way.
    async fn begin_claims(&self, namespaces: &BTreeSet<Namespace>) -> Result<Box<dyn RunTx>, StoreError>;

    /// Begins a transaction that changes a queue of a namespace. It waits for the claims under way there, and others wait
    /// for its end. Whoever gives up the wait holds up nobody.
    async fn begin_queue_change(&self, namespace: &Namespace) -> Result<Box<dyn RunTx>, StoreError>;

    /// The runs that exist of these ids, in any order; of one namespace, or of all for the system itself.
    async fn get_runs(&self, namespace: Option<&Namespace>, ids: &[RunId]) -> Result<Vec<Run>, StoreError>;

    /// The same with payloads.
    async fn get_details(
        &self,
        namespace: Option<&Namespace>,
        ids: &[RunId],
    ) -> Result<Vec<RunDetail>, StoreError>;

    /// A page of runs. A run that stays as it is while pages are read is in one of them, once.
    async fn list_runs(&self, query: &ListQuery) -> Result<Vec<Run>, StoreError>;

    /// How many runs there are, exact up to a bound.
    async fn count_runs(&self, query: &CountQuery) -> Result<Count, StoreError>;

    /// Up to `limit` keys that a run owns, by scope and key: of its creation, and of requests about it.
    async fn keys_of_run(
        &self,
        namespace: &Namespace,
        run: RunId,
        limit: usize,
    ) -> Result<Vec<KeyUse>, StoreError>;

    /// The run that an idempotency key has made, unless the key expired by `now`.
    async fn find_key(
        &self,
        namespace: &Namespace,
        scope: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<RunId>, StoreError>;

    /// The events of a run after `after_seq`, oldest first.
    async fn list_events(
        &self,
        namespace: &Namespace,
        run: RunId,
        after_seq: u64,
        limit: usize,
    ) -> Result<Vec<EventRow>, StoreError>;

    /// Events of all runs (or of those below and with `root`) after `cursor`, in feed order; only those that no
    /// transaction still under way can precede.
    async fn read_feed(
        &self,
        cursor: &FeedCursor,
        root: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError>;

    /// As `read_feed`, but only events of these runs.
    async fn read_feed_of_runs(
        &self,
        cursor: &FeedCursor,
        runs: &[RunId],
        limit: usize,
    ) -> Result<Vec<FeedEvent>, StoreError>;

    /// The position after all that `read_feed` would give now.
    async fn feed_end(&self) -> Result<FeedCursor, StoreError>;

    /// The position before the first event of this run.
    async fn feed_start(&self, run: RunId) -> Result<FeedCursor, StoreError>;

    /// Up to `limit` runs below `above`, by id, that are to end with it: they have not ended and are not CANCELLING, and
    /// neither they nor any run between is detached. What is right below a run is detached or not by how that has ended:
    /// by failure where it is FAILED, crash where it is CRASHED, else cancel; what is deeper by cancel. It is looked for
    /// below ended runs, too. A run below two of `above` is given once, for the lower one. Below
    /// a single run it may take longer than below many, which fail together where there is too much.
    async fn open_below(&self, above: &[RunId], limit: usize) -> Result<Vec<Below>, StoreError>;

    /// Up to `limit` runs of a selection, the largest place first, with places smaller than `before`.
    async fn select_runs(
        &self,
        selection: &Selection,
        before: Option<BulkPlace>,
        limit: usize,
    ) -> Result<Vec<BulkPlace>, StoreError>;

    /// How many runs a selection has now.
    async fn count_selected(&self, selection: &Selection) -> Result<u64, StoreError>;

    /// A bulk operation.
    async fn get_bulk_operation(
        &self,
        namespace: &Namespace,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError>;

    /// Bulk operations, newest first, with ids smaller than `before`.
    async fn list_bulk_operations(
        &self,
        namespace: &Namespace,
        before: Option<BulkOperationId>,
        limit: usize,
    ) -> Result<Vec<BulkOperation>, StoreError>;

    /// The payloads of a run's pauses.
    async fn get_inputs(&self, query: &InputQuery) -> Result<Vec<RunInput>, StoreError>;

    /// Changes whenever events were committed, here or by another process. A hint: a slow poll stands behind it.
    fn commits(&self) -> watch::Receiver<u64>;

    /// Held queued runs (PENDING, RUNNING, CANCELLING, PAUSED in their process) with ids after `after`, by id; for the check of leases.
    /// Only runs that entered their state before `entered_before`.
    async fn held_runs(
        &self,
        after: Option<RunId>,
        entered_before: Timestamp,
        limit: usize,
    ) -> Result<Vec<Run>, StoreError>;

    /// Notes when SCHEDULED runs were handed to delivery; `None` has the sweep do it again. Runs whose epoch has
    /// changed since are left alone.
    async fn mark_enqueued(
        &self,
        runs: &[(RunId, Epoch)],
        enqueued_at: Option<Timestamp>,
    ) -> Result<(), StoreError>;

    /// Opens a session, or renews it with a new end, also one that has expired: what it lost meanwhile is fenced off
    /// run by run. False: it was ended, or is another namespace's.
    async fn put_session(&self, session: &Session) -> Result<bool, StoreError>;

    /// Ends a session for good, so that the sweep takes its runs.
    async fn end_session(&self, namespace: &Namespace, id: SessionId) -> Result<(), StoreError>;

    /// CANCELLING runs that this session holds, by id.
    async fn cancelling_runs(&self, session: SessionId, limit: usize) -> Result<Vec<Run>, StoreError>;

    /// Deletes sessions that ended before `ended_before` and have no open runs, and idempotency and cache keys that
    /// expired before `now`, but for keys of children whose parent is open; artifacts without a run that were not changed
    /// since `ended_before`, and the numbers of keys of which none was made since then and none is left; up to `limit` of
    /// each. Gives how many rows went.
    async fn purge(&self, ended_before: Timestamp, now: Timestamp, limit: usize)
    -> Result<usize, StoreError>;

    /// Makes room for the runs to come, where the store keeps times apart, and deletes up to `limit` runs that ended
    /// before `ended_before`, as did the uppermost run above them, with all that is theirs; or more where all of a time
    /// can go at once. Where times are kept apart, a run may stay until the whole of its time can go.
    ///
    /// None goes before the one right above it: below an open run all is kept, so that a later attempt of it finds what an
    /// earlier one has started (P4). Nor does one that is still to end what is below it.
    ///
    /// Whoever follows the feed goes on behind what is gone. Leans on no run changing without an event.
    async fn maintain(
        &self,
        now: Timestamp,
        ended_before: Timestamp,
        limit: usize,
    ) -> Result<Maintained, StoreError>;

    /// `postgres` or `sqlite`.
    fn kind(&self) -> &'static str;

    /// What the clock of the store says, which all who share the store have in common.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Who the server is whose store this is: random, made with the store, and never changed.
    async fn server_id(&self) -> Result<String, StoreError>;

    /// The version of the schema that this program knows.
    fn schema_version(&self) -> u32;

    /// The version of the schema that is there now: a newer program may have migrated it meanwhile.
    async fn stored_schema_version(&self) -> Result<u32, StoreError>;
}

/// One transaction over runs. Locks are taken in id order, so that two batches cannot deadlock.
#[async_trait]
pub trait RunTx:
    SlotTx + QueueTx + DeploymentTx + WorkPoolTx + ScheduleTx + ArtifactTx + VariableTx + AutomationTx + Send
{
    /// Locks the runs that exist of these ids for a change, and reads them. Skips nothing.
    async fn lock_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError>;

    /// Reads the runs that exist of these ids and keeps their rows from changing until the commit.
    async fn share_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError>;

    /// Reads the runs that exist of these ids, as they are by now. Nothing keeps them so.
    async fn read_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError>;

    /// Those of these runs that have a child which is to end with a cancelled run and is neither one of them nor CANCELLING
    /// or CANCELLED: it is open, or what is below it may be. The caller has locked them, so none gets a child meanwhile.
    async fn have_more_below(&mut self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError>;

    /// Locks and reads up to `limit` runs of a sweep, leaving out rows that another transaction has locked.
    async fn sweep(&mut self, sweep: &Sweep, limit: usize) -> Result<Vec<Run>, StoreError>;

    /// Those of these sessions that are there and have not expired by `now`, with their tenants.
    async fn live_sessions(
        &mut self,
        ids: &[SessionId],
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Namespace)>, StoreError>;

    /// Reserves keys, and tells who owns each, in their order. A key that expired by `now` is given anew, but for a
    /// child's, which stands until it is purged. Of two
    /// reservations of one key in the slice the first wins. Waits for a concurrent transaction that reserves the same key.
    async fn reserve_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<KeyOwner>, StoreError>;

    /// Notes how many calls with keys, which this transaction has reserved and each of which is given once, got at `now`
    /// the run that owns them.
    async fn note_answers(
        &mut self,
        answered: &[(KeyReservation, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Who owns each of these keys by `now`, in their order, without reserving any.
    async fn find_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<Option<KeyOwner>>, StoreError>;

    /// Inserts runs with their parameters. False for an id that exists already, which changes nothing.
    async fn insert_runs(&mut self, runs: &[NewRun]) -> Result<Vec<bool>, StoreError>;

    /// Writes the changeable part of locked runs: session, due, expiry and start time, state with its data, epoch,
    /// attempt, crashes, retries, event number, cascade flag, queue slot, pause keys, and when they were handed over (as in
    /// `NewRun::enqueued_at`).
    async fn update_runs(&mut self, runs: &[(Run, Option<Timestamp>)]) -> Result<(), StoreError>;

    /// Appends events, and the firings of the automations that they set off. A number that the run has already is an
    /// error: P7.
    async fn append_events(&mut self, events: &[EventRow]) -> Result<(), StoreError>;

    /// Stores results; one that is there is replaced.
    async fn put_results(&mut self, results: &[(RunId, Payload)]) -> Result<(), StoreError>;

    /// Gives the result of each first run, where it has one, to the second one; one that is there is replaced. A second
    /// run comes once in the slice.
    async fn copy_results(&mut self, copies: &[(RunId, RunId)]) -> Result<(), StoreError>;

    /// Stores the failure of an attempt; one that is there is replaced.
    async fn put_failures(&mut self, failures: &[(RunId, u32, Failure)]) -> Result<(), StoreError>;

    /// Stores payloads of pauses; one that is there is replaced.
    async fn put_inputs(&mut self, inputs: &[RunInput]) -> Result<(), StoreError>;

    /// Stores runs whose results may serve others; one of the same key is replaced, the last of the slice stays.
    async fn put_cache_keys(&mut self, entries: &[CacheEntry]) -> Result<(), StoreError>;

    /// The runs whose results serve for these keys by `now`, in their order.
    async fn find_cache_keys(
        &mut self,
        keys: &[(Namespace, String)],
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StoreError>;

    /// Deletes those of these runs that have ended, with all that belongs to them: payloads, failures, inputs, artifacts,
    /// events, and the idempotency and cache keys that name them, so that such a key makes a new run. What has not ended, or is
    /// still to end what is below it (`cascade_pending`), stays as it is. Gives how many runs went. The caller has locked
    /// them.
    async fn delete_runs(&mut self, ids: &[RunId]) -> Result<usize, StoreError>;

    /// Those of these objects that are COMPLETE and belong to their namespace. Each counts as used from `now` on, and none
    /// goes away before the commit. To be called before payloads that refer to them are stored.
    async fn use_objects(
        &mut self,
        objects: &[(Namespace, ObjectId)],
        now: Timestamp,
    ) -> Result<Vec<ObjectRow>, StoreError>;

    /// The parameters of runs that have some.
    async fn get_parameters(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Payload)>, StoreError>;

    /// Inserts a bulk operation. False where the id exists already, which changes nothing.
    async fn put_bulk_operation(&mut self, operation: &BulkOperation) -> Result<bool, StoreError>;

    /// Locks a bulk operation for a change, and reads it.
    async fn lock_bulk_operation(&mut self, id: BulkOperationId)
    -> Result<Option<BulkOperation>, StoreError>;

    /// Locks and reads the bulk operation that goes on, whose lease ended by `now`, the longest ago; leaving out those that
    /// another transaction has locked.
    async fn sweep_bulk_operation(&mut self, now: Timestamp) -> Result<Option<BulkOperation>, StoreError>;

    /// Writes how far a locked bulk operation has come: state, end, cursor, lease, how many were done and skipped.
    async fn update_bulk_operation(&mut self, operation: &BulkOperation) -> Result<(), StoreError>;

    /// Makes it all durable, and wakes the readers of the feed.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}
