use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use futures::{Stream, TryStreamExt as _};
use sqlx::{Postgres, Transaction, postgres::PgRow, query};
use tidegate_model::{BulkOperationId, Namespace, ObjectId, Payload, RunId, SessionId, Timestamp};
use tidegate_orchestration::{Failure, Run};
use tidegate_store::{
    BulkOperation, CacheEntry, EventRow, KeyOwner, KeyReservation, NewRun, ObjectRow, RunInput, RunTx,
    StoreError, Sweep,
    adapter::{
        self, detach_flags, ended_at, first_reservations, key_name, micros, placement_columns, signed, text,
        unreadable,
    },
};
use uuid::Uuid;

use crate::{
    bulk,
    error::{commit_error, store_error},
    open::Signals,
    queries::{self, of_runs},
    row::{self, labels_json, number_array, optional_text, text_array},
};

/// One array of a batch.
macro_rules! each {
    ($rows:expr, $row:pat => $value:expr) => {
        $rows.iter().map(|$row| $value).collect::<Vec<_>>()
    };
}

pub(crate) use each;

/// The same for the statements that take an array with one element as that of all rows.
macro_rules! shared {
    ($rows:expr, $row:pat => $value:expr) => {
        shared($rows.iter().map(|$row| $value))
    };
}

/// The values, or the first alone where all are the same.
fn shared<T: Clone + PartialEq>(mut values: impl Iterator<Item = T>) -> Vec<T> {
    let Some(first) = values.next() else { return Vec::new() };
    for (n_same, value) in (1..).zip(values.by_ref()) {
        if value != first {
            let mut all = vec![first; n_same];
            all.push(value);
            all.extend(values);
            return all;
        }
    }
    vec![first]
}

pub(crate) struct PgTx {
    pub(crate) tx: Transaction<'static, Postgres>,
    signals: Arc<Signals>,
    appended_events: bool,
}

impl PgTx {
    pub(crate) fn new(tx: Transaction<'static, Postgres>, signals: Arc<Signals>) -> Self {
        Self { tx, signals, appended_events: false }
    }

    async fn put_payloads(
        &mut self,
        kind: &'static str,
        payloads: BTreeMap<RunId, &Payload>,
    ) -> Result<(), StoreError> {
        if payloads.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = payloads.keys().map(RunId::as_uuid).collect();
        let payloads: Vec<&Payload> = payloads.into_values().collect();
        query(queries::PUT_PAYLOADS.sql())
            .bind(kind)
            .bind(ids)
            .bind(each!(payloads, payload => &payload.data[..]))
            .bind(shared!(payloads, payload => payload.object.map(|object| object.id.as_uuid())))
            .bind(shared!(payloads, payload => payload.object.map(|object| signed(object.size))))
            .bind(shared!(payloads, payload => payload.object.as_ref().map(|object| &object.sha256[..])))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }
}

/// The runs of a statement, each read as it comes: a thousand of them are not held twice.
async fn runs(
    rows: impl Stream<Item = Result<PgRow, sqlx::Error>> + Unpin,
    n_expected: usize,
) -> Result<Vec<Run>, StoreError> {
    let mut rows = rows.map_err(store_error);
    let mut runs = Vec::with_capacity(n_expected);
    while let Some(row) = rows.try_next().await? {
        runs.push(row::run(&row)?);
    }
    Ok(runs)
}

fn at(time: Timestamp) -> i64 {
    time.as_micros()
}

#[async_trait]
impl RunTx for PgTx {
    async fn lock_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        let rows = of_runs(&queries::LOCK_RUNS, row::ids(ids)).fetch(&mut *self.tx);
        runs(rows, ids.len()).await
    }

    async fn share_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        let rows = of_runs(&queries::SHARE_RUNS, row::ids(ids)).fetch(&mut *self.tx);
        runs(rows, ids.len()).await
    }

    async fn read_runs(&mut self, ids: &[RunId]) -> Result<Vec<Run>, StoreError> {
        let rows = of_runs(&queries::GET_RUNS, row::ids(ids)).bind(None::<&str>).fetch(&mut *self.tx);
        runs(rows, ids.len()).await
    }

    async fn have_more_below(&mut self, ids: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let rows = query(queries::HAVE_MORE_BELOW.sql())
            .bind(row::ids(ids))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| row::run_id(row, 0)).collect()
    }

    async fn sweep(&mut self, sweep: &Sweep, limit: usize) -> Result<Vec<Run>, StoreError> {
        let query = match sweep {
            Sweep::NeverEnqueued { due_before } => {
                query(queries::SWEEP_NEVER_ENQUEUED.sql()).bind(at(*due_before))
            }
            Sweep::EnqueuedBefore { due_before, enqueued_before } => {
                query(queries::SWEEP_ENQUEUED_BEFORE.sql()).bind(at(*due_before)).bind(at(*enqueued_before))
            }
            Sweep::Timers { now } => query(queries::SWEEP_TIMERS.sql()).bind(at(*now)),
            Sweep::Cascades => query(queries::SWEEP_CASCADES.sql()),
            Sweep::LostSessions { now } => query(queries::SWEEP_LOST_SESSIONS.sql()).bind(at(*now)),
        };
        runs(query.bind(adapter::limit(limit)).fetch(&mut *self.tx), 0).await
    }

    async fn reserve_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<KeyOwner>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let first: Vec<&KeyReservation> = first_reservations(keys).into_values().collect();
        let rows = query(queries::RESERVE_KEYS.sql())
            .bind(each!(first, key => key.namespace.as_str()))
            .bind(each!(first, key => key.scope.as_str()))
            .bind(each!(first, key => key.key.as_str()))
            .bind(each!(first, key => key.run_id.as_uuid()))
            .bind(each!(first, key => &key.params_hash[..]))
            .bind(each!(first, key => at(key.expires_at)))
            .bind(at(now))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let owners = owners(&rows)?;
        keys.iter()
            .map(|key| {
                let owner = owners.get(&key_name(key)).copied();
                owner.ok_or_else(|| StoreError::Internal(format!("key `{}` has no owner", key.key)))
            })
            .collect()
    }

    async fn note_answers(
        &mut self,
        answered: &[(KeyReservation, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        query(queries::NOTE_ANSWERS.sql())
            .bind(each!(answered, (key, _) => key.namespace.as_str()))
            .bind(each!(answered, (key, _) => key.scope.as_str()))
            .bind(each!(answered, (key, _) => key.key.as_str()))
            .bind(each!(answered, (_, n) => adapter::signed(*n)))
            .bind(at(now))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn find_keys(
        &mut self,
        keys: &[KeyReservation],
        now: Timestamp,
    ) -> Result<Vec<Option<KeyOwner>>, StoreError> {
        let rows = query(queries::FIND_KEYS.sql())
            .bind(each!(keys, key => key.namespace.as_str()))
            .bind(each!(keys, key => key.scope.as_str()))
            .bind(each!(keys, key => key.key.as_str()))
            .bind(at(now))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let owners = owners(&rows)?;
        Ok(keys.iter().map(|key| owners.get(&key_name(key)).copied()).collect())
    }

    async fn insert_runs(&mut self, runs: &[NewRun]) -> Result<Vec<bool>, StoreError> {
        let mut seen = HashSet::with_capacity(runs.len());
        let mut first: Vec<&NewRun> = runs.iter().filter(|new| seen.insert(new.run.id)).collect();
        first.sort_unstable_by_key(|new| new.run.id);
        let rows = each!(first, new => &new.run);
        let inserted = query(queries::INSERT_RUNS.sql())
            .bind(each!(rows, run => run.id.as_uuid()))
            .bind(shared!(rows, run => run.root.as_uuid()))
            .bind(shared!(rows, run => i64::from(run.depth)))
            .bind(shared!(rows, run => run.priority))
            .bind(shared!(rows, run => at(run.created_at)))
            .bind(shared!(rows, run => at(run.due_at)))
            .bind(shared!(rows, run => at(run.state.at)))
            .bind(shared!(rows, run => signed(run.epoch.0)))
            .bind(shared!(rows, run => i64::from(run.attempt)))
            .bind(shared!(rows, run => i64::from(run.crashes)))
            .bind(shared!(rows, run => i64::from(run.retries)))
            .bind(shared!(rows, run => signed(run.event_seq)))
            .bind(shared!(rows, run => run.cascade_pending))
            .bind(shared!(rows, run => detach_flags(&run.policies.parent)[0]))
            .bind(shared!(rows, run => detach_flags(&run.policies.parent)[1]))
            .bind(shared!(rows, run => detach_flags(&run.policies.parent)[2]))
            .bind(shared!(rows, run => i64::from(run.policies.retry.max_retries)))
            .bind(shared!(rows, run => run.policies.retry.backoff_factor))
            .bind(shared!(rows, run => micros(run.policies.retry.max_delay)))
            .bind(shared!(rows, run => run.policies.retry.jitter_factor))
            .bind(shared!(rows, run => i64::from(run.policies.crash.max_crashes)))
            .bind(shared!(rows, run => micros(run.policies.start_timeout)))
            .bind(shared!(rows, run => micros(run.policies.cancel_grace)))
            .bind(shared!(rows, run => run.namespace.as_str()))
            .bind(shared!(rows, run => run.kind.as_str()))
            .bind(shared!(rows, run => run.name.as_str()))
            .bind(shared!(rows, run => text(&run.run_name)))
            .bind(shared!(rows, run => run.state.state_type().as_str()))
            .bind(shared!(rows, run => run.state.name.as_str()))
            .bind(shared!(rows, run => text(&run.state.message)))
            .bind(shared!(rows, run => text_array(&run.tags)))
            .bind(shared!(rows, run => number_array(run.policies.retry.delays.iter().map(|delay| micros(*delay)))))
            .bind(shared!(rows, run => text_array(&run.policies.retry.retry_on)))
            .bind(shared!(rows, run => text_array(&run.policies.retry.never_retry_on)))
            .bind(shared!(rows, run => text_array(&run.concurrency_limits)))
            .bind(shared!(rows, run => text_array(&run.resumed_keys)))
            .bind(shared!(rows, run => labels_json(&run.labels)))
            .bind(shared!(rows, run => placement_columns(&run.placement).0))
            .bind(shared!(rows, run => placement_columns(&run.placement).1.map(|session| session.as_uuid())))
            .bind(shared!(rows, run => run.parent.map(|parent| parent.as_uuid())))
            .bind(shared!(rows, run => run.policies.run_timeout.map(micros)))
            .bind(shared!(rows, run => run.policies.late_after.map(micros)))
            .bind(shared!(rows, run => run.started_at.map(at)))
            .bind(shared!(rows, run => run.timer_at().map(at)))
            .bind(shared!(rows, run => run.expires_at.map(at)))
            .bind(shared!(rows, run => run.holder().map(ToString::to_string)))
            .bind(shared!(rows, run => optional_text(run.traceparent.as_deref())))
            .bind(shared!(rows, run => optional_text(run.deployment.as_deref())))
            .bind(shared!(rows, run => run.cache.as_ref().map(|cache| text(&cache.key))))
            .bind(shared!(rows, run => run.cache.as_ref().and_then(|cache| cache.expires_after).map(micros)))
            .bind(shared!(rows, run => optional_text(run.pause_key.as_deref())))
            .bind(shared!(rows, run => ended_at(run).map(at)))
            .bind(shared!(first, new => new.enqueued_at.map(at)))
            .bind(shared!(rows, run => run.fairness_key.as_ref().map(|key| key.as_str())))
            .bind(shared!(rows, run => (!run.required_labels.is_empty()).then(|| labels_json(&run.required_labels))))
            .bind(shared!(rows, run => run.preferred_worker.as_ref().map(|worker| worker.as_str())))
            .bind(shared!(rows, run => run.deployment_version.map(signed)))
            .bind(shared!(rows, run => run.work_pool.as_ref().map(|pool| pool.as_str())))
            .bind(shared!(first, new => new.job.as_deref()))
            .bind(shared!(rows, run => run.schedule.as_ref().map(|schedule| schedule.as_str())))
            .bind(shared!(rows, run => run.fire_at.map(at)))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut inserted =
            inserted.iter().map(|row| row::run_id(row, 0)).collect::<Result<HashSet<_>, _>>()?;
        let parameters = first
            .iter()
            .filter(|new| inserted.contains(&new.run.id))
            .filter_map(|new| Some((new.run.id, new.parameters.as_ref()?)))
            .collect();
        self.put_payloads("parameters", parameters).await?;
        // Taken out once: a second use of the id in the slice did not insert it.
        Ok(each!(runs, new => inserted.remove(&new.run.id)))
    }

    async fn update_runs(&mut self, runs: &[(Run, Option<Timestamp>)]) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        query(queries::UPDATE_RUNS.sql())
            .bind(each!(runs, (run, _) => run.id.as_uuid()))
            .bind(shared!(runs, (run, _) => at(run.due_at)))
            .bind(shared!(runs, (run, _) => at(run.state.at)))
            .bind(shared!(runs, (run, _) => signed(run.epoch.0)))
            .bind(shared!(runs, (run, _) => i64::from(run.attempt)))
            .bind(shared!(runs, (run, _) => i64::from(run.crashes)))
            .bind(shared!(runs, (run, _) => i64::from(run.retries)))
            .bind(shared!(runs, (run, _) => signed(run.event_seq)))
            .bind(shared!(runs, (run, _) => run.cascade_pending))
            .bind(shared!(runs, (run, _) => run.state.state_type().as_str()))
            .bind(shared!(runs, (run, _) => run.state.name.as_str()))
            .bind(shared!(runs, (run, _) => text(&run.state.message)))
            .bind(shared!(runs, (run, _) => text_array(&run.resumed_keys)))
            .bind(
                shared!(runs, (run, _) => placement_columns(&run.placement).1.map(|session| session.as_uuid())),
            )
            .bind(shared!(runs, (run, _) => run.started_at.map(at)))
            .bind(shared!(runs, (run, _) => run.timer_at().map(at)))
            .bind(shared!(runs, (run, _) => run.expires_at.map(at)))
            .bind(shared!(runs, (run, _) => run.holder().map(ToString::to_string)))
            .bind(shared!(runs, (run, _) => optional_text(run.pause_key.as_deref())))
            .bind(shared!(runs, (run, _) => ended_at(run).map(at)))
            .bind(shared!(runs, (_, enqueued_at) => enqueued_at.map(at)))
            .bind(shared!(runs, (run, _) => run.queue_slot))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn append_events(&mut self, events: &[EventRow]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        query(queries::APPEND_EVENTS.sql())
            .bind(each!(events, event => event.run_id.as_uuid()))
            .bind(shared!(events, event => event.root.as_uuid()))
            .bind(shared!(events, event => signed(event.seq)))
            .bind(shared!(events, event => at(event.at)))
            .bind(shared!(events, event => i64::from(event.attempt)))
            .bind(shared!(events, event => signed(event.epoch.0)))
            .bind(shared!(events, event => event.ended))
            .bind(shared!(events, event => event.namespace.as_str()))
            .bind(shared!(events, event => event.kind.as_str()))
            .bind(shared!(events, event => event.name.as_str()))
            .bind(shared!(events, event => event.state_type.as_str()))
            .bind(shared!(events, event => event.state_name.as_str()))
            .bind(shared!(events, event => text(&event.message)))
            .bind(shared!(events, event => event.holder.as_ref().map(ToString::to_string)))
            .bind(shared!(events, event => optional_text(event.actor.as_deref())))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        self.appended_events = true;
        Ok(())
    }

    async fn put_results(&mut self, results: &[(RunId, Payload)]) -> Result<(), StoreError> {
        self.put_payloads("result", results.iter().map(|(run, payload)| (*run, payload)).collect()).await
    }

    async fn copy_results(&mut self, copies: &[(RunId, RunId)]) -> Result<(), StoreError> {
        query(queries::COPY_RESULTS.sql())
            .bind(each!(copies, (from, _) => from.as_uuid()))
            .bind(each!(copies, (_, to) => to.as_uuid()))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn put_failures(&mut self, failures: &[(RunId, u32, Failure)]) -> Result<(), StoreError> {
        if failures.is_empty() {
            return Ok(());
        }
        // Each once: ON CONFLICT takes a row only once in a statement.
        let failures: BTreeMap<(RunId, u32), &Failure> =
            failures.iter().map(|(run, attempt, failure)| ((*run, *attempt), failure)).collect();
        query(queries::PUT_FAILURES.sql())
            .bind(each!(failures, ((run, _), _) => run.as_uuid()))
            .bind(each!(failures, ((_, attempt), _) => i64::from(*attempt)))
            .bind(each!(failures, (_, failure) => failure.non_retryable))
            .bind(each!(failures, (_, failure) => text(&failure.error_type)))
            .bind(each!(failures, (_, failure) => text(&failure.message)))
            .bind(each!(failures, (_, failure) => text(&failure.traceback)))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn live_sessions(
        &mut self,
        ids: &[SessionId],
        now: Timestamp,
    ) -> Result<Vec<(SessionId, Namespace)>, StoreError> {
        let rows = query(queries::LIVE_SESSIONS.sql())
            .bind(ids.iter().map(SessionId::as_uuid).collect::<Vec<_>>())
            .bind(now.as_micros())
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter()
            .map(|row| {
                Ok((
                    SessionId::from_uuid(row::column(row, 0)?),
                    adapter::parse("namespace", row::column(row, 1)?)?,
                ))
            })
            .collect()
    }

    async fn put_inputs(&mut self, inputs: &[RunInput]) -> Result<(), StoreError> {
        if inputs.is_empty() {
            return Ok(());
        }
        // Each once, as above.
        let inputs: BTreeMap<_, _> =
            inputs.iter().map(|input| ((input.run_id, &input.key, input.kind), &input.data)).collect();
        query(queries::PUT_INPUTS.sql())
            .bind(each!(inputs, ((run, _, _), _) => run.as_uuid()))
            .bind(each!(inputs, ((_, key, _), _) => text(key)))
            .bind(each!(inputs, ((_, _, kind), _) => kind.as_str()))
            .bind(each!(inputs, (_, data) => &data.data[..]))
            .bind(each!(inputs, (_, data) => data.object.map(|object| object.id.as_uuid())))
            .bind(each!(inputs, (_, data) => data.object.map(|object| signed(object.size))))
            .bind(each!(inputs, (_, data) => data.object.as_ref().map(|object| &object.sha256[..])))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn put_cache_keys(&mut self, entries: &[CacheEntry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        // Each once, as above, and in one order, so that two batches cannot deadlock.
        let entries: BTreeMap<_, _> =
            entries.iter().map(|entry| ((&entry.namespace, &entry.key), entry)).collect();
        query(queries::PUT_CACHE_KEYS.sql())
            .bind(each!(entries, (_, entry) => entry.namespace.as_str()))
            .bind(each!(entries, (_, entry) => text(&entry.key)))
            .bind(each!(entries, (_, entry) => entry.run_id.as_uuid()))
            .bind(each!(entries, (_, entry) => at(entry.expires_at)))
            .execute(&mut *self.tx)
            .await
            .map_err(store_error)?;
        Ok(())
    }

    async fn find_cache_keys(
        &mut self,
        keys: &[(Namespace, String)],
        now: Timestamp,
    ) -> Result<Vec<Option<RunId>>, StoreError> {
        let rows = query(queries::FIND_CACHE_KEYS.sql())
            .bind(each!(keys, (namespace, _) => namespace.as_str()))
            .bind(each!(keys, (_, key) => text(key)))
            .bind(at(now))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let mut found: HashMap<(&str, &str), RunId> = HashMap::with_capacity(rows.len());
        for row in &rows {
            found.insert((row::column(row, 0)?, row::column(row, 1)?), row::run_id(row, 2)?);
        }
        Ok(each!(keys, (namespace, key) => found.get(&(namespace.as_str(), &*text(key))).copied()))
    }

    async fn delete_runs(&mut self, ids: &[RunId]) -> Result<usize, StoreError> {
        let rows = of_runs(&queries::DELETE_RUNS, row::ids(ids))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        let deleted: Vec<Uuid> = rows.iter().map(|row| row::column(row, 0)).collect::<Result<_, _>>()?;
        let n_deleted = deleted.len();
        if n_deleted > 0 {
            of_runs(&queries::DELETE_BELONGINGS, deleted)
                .execute(&mut *self.tx)
                .await
                .map_err(store_error)?;
        }
        Ok(n_deleted)
    }

    async fn use_objects(
        &mut self,
        objects: &[(Namespace, ObjectId)],
        now: Timestamp,
    ) -> Result<Vec<ObjectRow>, StoreError> {
        if objects.is_empty() {
            return Ok(Vec::new());
        }
        let rows = query(queries::USE_OBJECTS.sql())
            .bind(each!(objects, (_, id) => id.as_uuid()))
            .bind(each!(objects, (namespace, _) => namespace.as_str()))
            .bind(at(now))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(row::object).collect()
    }

    async fn get_parameters(&mut self, ids: &[RunId]) -> Result<Vec<(RunId, Payload)>, StoreError> {
        let rows = of_runs(&queries::GET_PARAMETERS, row::ids(ids))
            .fetch_all(&mut *self.tx)
            .await
            .map_err(store_error)?;
        rows.iter().map(|row| Ok((row::run_id(row, 0)?, row::payload(row, 1)?))).collect()
    }

    async fn put_bulk_operation(&mut self, operation: &BulkOperation) -> Result<bool, StoreError> {
        bulk::put(&mut self.tx, operation).await
    }

    async fn lock_bulk_operation(
        &mut self,
        id: BulkOperationId,
    ) -> Result<Option<BulkOperation>, StoreError> {
        bulk::lock(&mut self.tx, id).await
    }

    async fn sweep_bulk_operation(&mut self, now: Timestamp) -> Result<Option<BulkOperation>, StoreError> {
        bulk::sweep(&mut self.tx, now).await
    }

    async fn update_bulk_operation(&mut self, operation: &BulkOperation) -> Result<(), StoreError> {
        bulk::update(&mut self.tx, operation).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.tx.commit().await.map_err(commit_error)?;
        if self.appended_events {
            self.signals.committed();
        }
        Ok(())
    }
}

/// The owners of keys, by the keys' names.
fn owners(rows: &[PgRow]) -> Result<HashMap<adapter::KeyName<'_>, KeyOwner>, StoreError> {
    let mut owners = HashMap::with_capacity(rows.len());
    for owned in rows {
        let name = (row::column(owned, 0)?, row::column(owned, 1)?, row::column(owned, 2)?);
        let hash: &[u8] = row::column(owned, 4)?;
        let params_hash = hash.try_into().map_err(|_| unreadable("params_hash", format!("{hash:?}")))?;
        owners.insert(name, KeyOwner { run_id: row::run_id(owned, 3)?, params_hash });
    }
    Ok(owners)
}
